# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg for ROS 2: which pixels does a sentence name? The engine is in ``segmenter``, the node in ``ros``."""
