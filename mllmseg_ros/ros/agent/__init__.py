# SPDX-License-Identifier: Apache-2.0
"""The MCP server's way to a running segmenter."""
