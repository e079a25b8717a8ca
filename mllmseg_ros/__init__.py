# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg for ROS 2: the pixels that a sentence names. Engine in ``segmenter``, node in ``ros``."""
