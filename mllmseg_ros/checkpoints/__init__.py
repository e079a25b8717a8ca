# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: found, downloaded, verified, loaded, converted."""
