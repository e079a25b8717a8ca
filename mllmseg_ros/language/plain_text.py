# SPDX-License-Identifier: Apache-2.0
"""Reduce the text of a command to letters, digits and plain punctuation.

Keyboards, chats and speech recognisers put characters around a command that nobody sees or means:
byte order marks, full-width letters, emoji, quotes of many kinds. All comparisons, first of all
that with "stop", are made on the text that this module returns.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["is_in_brackets", "normalize_text"]

_STOP_SIGN = "\N{OCTAGONAL SIGN}"
_REPLACED = {
    _STOP_SIGN: ", stop, ",
    # Quotes and apostrophes
    **dict.fromkeys("'`´‘’‚‛‹›′ʼʹ՚＇", "'"),
    **dict.fromkeys("\"″‟", '"'),
    # Ends of sentences, commas, semicolons and colons of other scripts
    "…": "... ",
    **dict.fromkeys("。｡．۔।॥።։᙮⸼", "."),
    **dict.fromkeys("？؟⁇", "?"),
    **dict.fromkeys("！‼", "!"),
    **dict.fromkeys("，、،､﹐﹑፣߸", ","),
    **dict.fromkeys("；؛﹔፤", ";"),
    **dict.fromkeys("：﹕፥", ":"),
    # Hyphens; all other dashes are pauses
    **dict.fromkeys("-‐‑﹣－", "-"),
}  # fmt: skip
_TERMINAL_CODE = re.compile(r"\x1b\[[\d;]*[A-Za-z]")  # of colours
# Signs that people put between requests or things, and between words alone.
_BETWEEN = re.compile(r"(?<=\w) ?(?:\||•|·|[-=]?>|→|⇒|➔) ?(?=\w)")
_PLUS = re.compile(r"(?<=\w) \+ (?=\w)")
_KEPT = ".,!?;:/&%_"
_DASH = "—"
_OUTER = " .,!?-/&%"  # nothing is meant by these before a command


def normalize_text(text: str) -> str:
    """Normalise a text for comparisons and for the model.

    NFKC; whitespace is collapsed; control, format and unassigned characters are removed; symbols,
    brackets and quotes become spaces, long dashes commas. Apostrophes, hyphens and slashes stay
    within words. The result is at most three times as long as a text without ligatures.
    """
    text = _TERMINAL_CODE.sub(" ", text)
    text = _BETWEEN.sub(", ", _PLUS.sub(" & ", text))
    text = unicodedata.normalize("NFKC", "".join(map(_replace, text)))
    # NFKC makes characters that the first pass has not seen, and orphans marks.
    text = _remove_orphaned_marks("".join(map(_replace, text)))
    text = " ".join(text.replace('"', " ").split())
    # An apostrophe at the end of a word is a quote where one was opened.
    has_quote = re.search(r"(?<!\w)'", text)
    text = re.sub(r"(?<!\w)'|'(?!\w)" if has_quote else r"(?<!s)'(?!\w)|'$", " ", text)
    text = re.sub(rf"(?<=\d) ?{_DASH} ?(?=\d)", "-", text)
    text = re.sub(rf"{_DASH}|(?<!\w)[-/]|[-/](?!\w)", ", ", text)
    text = re.sub(r"(?<!\w)_+|_+(?!\w)|(?<!\w)(?<!\w )&|&(?! ?\w)|(?<!\d)%", " ", text)
    text = re.sub(r" +(?=[,.!?;:])", "", " ".join(text.split()))
    text = re.sub(r"(?<!\d)([,!?;]\.*|[.]{2,})(?=\w)", r"\1 ", text)
    text = re.sub(r"(?<=[^\W\d]{2})\.(?=[^\W\d]{2})", ". ", text)
    return text.lstrip(_OUTER)


def is_in_brackets(text: str) -> bool:
    """Whether all words are in brackets, as recognisers write sounds: "[MUSIC]", "(sighs)"."""
    depth, has_words = 0, False
    for character in text:
        category = unicodedata.category(character)
        depth += (category == "Ps") - (category == "Pe")
        if character.isalnum():
            has_words = True
            if depth < 1:
                return False
    return has_words


@lru_cache(maxsize=4096)
def _replace(character: str) -> str:
    """Replace one character by what is meant by it."""
    if character in _REPLACED:
        return _REPLACED[character]
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category[0] in "LN" or category in ("Mn", "Mc"):
        return "" if "VARIATION SELECTOR" in unicodedata.name(character, "") else character
    if category[0] == "C" or category == "Me":
        return ""
    if character in _KEPT:
        return character
    if category == "Pd":
        return _DASH
    return '"' if category in ("Pi", "Pf") else " "


def _remove_orphaned_marks(text: str) -> str:
    kept: list[str] = []
    for character in text:
        is_mark = unicodedata.category(character)[0] == "M"
        if not is_mark or (kept and kept[-1].isalnum()) or (kept and _is_mark(kept[-1])):
            kept.append(character)
    return "".join(kept)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"
