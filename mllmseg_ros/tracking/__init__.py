# SPDX-License-Identifier: Apache-2.0
"""The last result kept on the newest image."""
