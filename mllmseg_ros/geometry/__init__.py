# SPDX-License-Identifier: Apache-2.0
"""From masks and depth to things with places in metres."""
