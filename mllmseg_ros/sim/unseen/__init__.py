# SPDX-License-Identifier: Apache-2.0
"""Scenes of another renderer with sentences written by hand, to choose between weights by."""
