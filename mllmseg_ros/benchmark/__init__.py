# SPDX-License-Identifier: Apache-2.0
"""How fast a model is on this machine: parity first, then times, rates, memory and power."""
