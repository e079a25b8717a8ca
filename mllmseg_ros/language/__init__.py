# SPDX-License-Identifier: Apache-2.0
"""Commands as people say them. Entry point: conversation.py; a language is a table, english.py."""
