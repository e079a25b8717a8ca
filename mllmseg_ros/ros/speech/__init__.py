# SPDX-License-Identifier: Apache-2.0
"""The node that hears commands and says answers."""
