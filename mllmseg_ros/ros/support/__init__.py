# SPDX-License-Identifier: Apache-2.0
"""What every node of this package uses: QoS, TF, parameters, launch."""
