# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg as torch modules: vision tower and LLM from transformers, fusion and mask decoder ours."""
