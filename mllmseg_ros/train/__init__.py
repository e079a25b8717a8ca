# SPDX-License-Identifier: Apache-2.0
"""Training: the paper's, the embedded model's, and adaptation. Inference never imports it."""
