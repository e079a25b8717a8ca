# SPDX-License-Identifier: Apache-2.0
"""German for the tabletop. Placeholder replaced below."""
GERMAN = None
