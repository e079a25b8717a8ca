# SPDX-License-Identifier: Apache-2.0
"""Executables beside the node: doctor, image folder, viewer."""
