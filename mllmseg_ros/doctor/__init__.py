# SPDX-License-Identifier: Apache-2.0
"""Checks of the machine and the installation."""
