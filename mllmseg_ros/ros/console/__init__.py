# SPDX-License-Identifier: Apache-2.0
"""The web console: a page for the segmenter's topics, services and parameters."""
