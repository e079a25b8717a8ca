# SPDX-License-Identifier: Apache-2.0
"""From a voice to a command. Entry point: listener.py; what may follow a rejection: decision.py."""
