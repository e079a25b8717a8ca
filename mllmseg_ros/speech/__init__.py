# SPDX-License-Identifier: Apache-2.0
"""Recognise spoken commands."""
