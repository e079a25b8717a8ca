# SPDX-License-Identifier: Apache-2.0
"""Tools for the node: doctor, image folder, viewer."""
