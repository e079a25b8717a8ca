# SPDX-License-Identifier: Apache-2.0
"""Text from outside is shown as what it is."""

from __future__ import annotations

import pytest

from mllmseg_ros.error_text import escape_invisible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the red mug", "the red mug"),
        ("die grüne Tasse, 赤いマグ, الكوب 🙂", "die grüne Tasse, 赤いマグ, الكوب 🙂"),
        ("pick\u202e gum der", r"pick\u202e gum der"),
        ("st\u200bop\ufeff", r"st\u200bop\ufeff"),
        ("a\x00\x1b[31m\ud800", r"a\x00\x1b[31m\ud800"),
        ("two\nlines\u2028of\u00a0text", "two lines of text"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert escape_invisible(text) == shown
