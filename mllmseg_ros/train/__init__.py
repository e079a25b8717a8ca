# SPDX-License-Identifier: Apache-2.0
"""Training. Needs torch >= 2.9 (its Muon optimiser); running a model never imports this."""
