# SPDX-License-Identifier: Apache-2.0
"""A simulated RGB-D tabletop: scenes, camera, referring expressions, rendered data sets."""
