# SPDX-License-Identifier: Apache-2.0
"""Benchmark a model on this machine: parity first, then times, rates, memory and power."""
