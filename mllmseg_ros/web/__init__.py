# SPDX-License-Identifier: Apache-2.0
"""Pages in a browser: who may see them, what they show. Knows nothing of ROS."""
