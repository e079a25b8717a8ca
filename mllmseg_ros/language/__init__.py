# SPDX-License-Identifier: Apache-2.0
"""Parse commands in natural language. Each language is a table, such as english.py."""
