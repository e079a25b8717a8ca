# SPDX-License-Identifier: Apache-2.0
"""A model as ONNX files, one per stage: write them, and run them without torch's modules."""

MANIFEST = "export.json"  # a folder that has it holds an exported model
