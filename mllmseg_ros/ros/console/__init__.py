# SPDX-License-Identifier: Apache-2.0
"""The web console: a page on the segmenter's topics, services and parameters."""
