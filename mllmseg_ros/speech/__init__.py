# SPDX-License-Identifier: Apache-2.0
"""From a voice to a command."""
