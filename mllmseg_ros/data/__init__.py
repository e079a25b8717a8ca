# SPDX-License-Identifier: Apache-2.0
"""Data sets of referring expressions, in all supported formats."""
