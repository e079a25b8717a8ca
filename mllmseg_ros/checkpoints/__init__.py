# SPDX-License-Identifier: Apache-2.0
"""Find, download, verify, load and convert checkpoints."""
