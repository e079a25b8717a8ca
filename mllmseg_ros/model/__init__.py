# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg as torch modules: vision tower and LLM of transformers, fusion, mask decoder."""
