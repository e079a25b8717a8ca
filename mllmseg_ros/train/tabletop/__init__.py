# SPDX-License-Identifier: Apache-2.0
"""The embedded model from scratch, on simulated scenes."""
