# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg as torch modules: transformers' vision tower and LLM, our fusion and mask decoder."""
