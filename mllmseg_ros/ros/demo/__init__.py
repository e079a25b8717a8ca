# SPDX-License-Identifier: Apache-2.0
"""The demos of `make demo`: simulated camera and robot, commanders, start."""
