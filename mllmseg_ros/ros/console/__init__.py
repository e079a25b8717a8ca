# SPDX-License-Identifier: Apache-2.0
"""The web console on topics, services and parameters."""
