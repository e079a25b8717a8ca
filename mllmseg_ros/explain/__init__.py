# SPDX-License-Identifier: Apache-2.0
"""Why an expression is answered as it is."""
