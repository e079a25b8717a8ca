# SPDX-License-Identifier: Apache-2.0
"""Commands as people say them. A language is a table: english.py."""
