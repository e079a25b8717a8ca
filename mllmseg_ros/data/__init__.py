# SPDX-License-Identifier: Apache-2.0
"""Data sets of referring expressions, in the formats that exist. Reads files; knows no model."""
