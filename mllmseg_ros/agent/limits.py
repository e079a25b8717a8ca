# SPDX-License-Identifier: Apache-2.0
"""Limits on what an agent can take."""

from __future__ import annotations

MAX_CALLS = 8  # at a time; a stop is answered beside them
MAX_CAMERA_CHARS = 1024  # name of a camera, or of an image
MAX_WATCH_S = 600.0
LOOK_EVERY_S = 0.5  # while watching
MAX_SESSIONS = 32  # over HTTP
SESSION_IDLE_S = 1800.0  # after which one ends
MAX_FILES = 10_000  # images of a folder that are looked at
MAX_LISTED = 200  # names in an answer
