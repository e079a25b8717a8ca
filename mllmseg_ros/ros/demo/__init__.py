# SPDX-License-Identifier: Apache-2.0
"""The simulated robots of `make demo`: processes, cameras, commanders."""
