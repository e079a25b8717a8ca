# SPDX-License-Identifier: Apache-2.0
"""Whether everything needed is there and works."""
