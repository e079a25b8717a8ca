# SPDX-License-Identifier: Apache-2.0
"""Pages in a browser: who may see them, what they show. Knows nothing of ROS."""

try:
    import aiohttp  # noqa: F401
except ImportError as error:
    raise ImportError(
        "web pages need aiohttp: pip install aiohttp, or apt install python3-aiohttp"
    ) from error
