# SPDX-License-Identifier: Apache-2.0
"""An MCP server for language-model agents: what they may ask, and the answers."""
