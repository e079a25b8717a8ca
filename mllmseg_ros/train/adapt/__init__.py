# SPDX-License-Identifier: Apache-2.0
"""A model taught one's own things from tens of pictures."""
