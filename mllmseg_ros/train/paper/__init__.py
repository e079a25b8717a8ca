# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg from InternVL2.5, as the paper trains it."""
