# SPDX-License-Identifier: Apache-2.0
"""Web pages: the console and the review page, with access control. Does not use ROS."""

try:
    import aiohttp  # noqa: F401
except ImportError as error:
    raise ImportError("web pages need aiohttp: pip install 'aiohttp>=3.14.5'") from error
