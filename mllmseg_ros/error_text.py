# SPDX-License-Identifier: Apache-2.0
"""Format exceptions and untrusted text for logs, messages and web pages."""

from __future__ import annotations

__all__ = ["escape_invisible", "one_line"]

_MAX_CHARS = 1000


def one_line(error: BaseException, *, with_type: bool = True, max_chars: int = _MAX_CHARS) -> str:
    """Format an exception without line breaks and control characters.

    Args:
        error: the exception.
        with_type: begin with the name of its class.
        max_chars: maximum length.
    """
    text = f"{type(error).__name__}: {error}" if with_type else str(error)
    line = " ".join(text.split())[:max_chars]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def escape_invisible(text: str) -> str:
    r"""Replace characters that cannot be seen, or that reorder others, by their escapes.

    White space becomes blanks; a right-to-left override becomes ``\u202e``.
    """
    return "".join(map(_escape, text))


def _escape(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else letter.encode("unicode_escape").decode()
