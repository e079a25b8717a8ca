# SPDX-License-Identifier: Apache-2.0
"""The node that recognises spoken commands and speaks the results."""
