# SPDX-License-Identifier: Apache-2.0
"""Training, as the paper does it and of the embedded model; running a model never imports this."""
