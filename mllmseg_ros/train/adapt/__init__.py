# SPDX-License-Identifier: Apache-2.0
"""Adaptation of a model to a user's own objects."""
