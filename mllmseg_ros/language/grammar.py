# SPDX-License-Identifier: Apache-2.0
"""A grammar for speech recognisers: what the command parser understands, of things with a name.

Free dictation mistakes commands for prose; with this grammar a recogniser hears nothing else. The
sentences are those of a table (english.py), the names those of a model's vocabulary. Entry point:
:func:`jsgf`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mllmseg_ros.language.language import Language, SentencePattern
from mllmseg_ros.sim import objects, vocabulary

_ARTICLES = ("the", "a", "my", "that", "this")
_PLACES_OF = {
    "place": ("in", "into", "on", "onto", "to"),
    "place_beside": ("next to", "beside"),
    "place_behind": ("behind",),
    "place_in_front_of": ("in front of",),
}
_SIDES = ("on the left", "on the right", "in the middle", "in front", "at the back")
_FOLLOW_UPS = ("bigger", "smaller", "other", "left", "right", "first", "second", "third", "last")
_KINDS = ("pick", "carry", "find", "destination", "segment")


def jsgf(
    language: Language,
    names: vocabulary.Language = vocabulary.VARIED,
    *,
    can_hear: Callable[[str], bool] = lambda word: True,
) -> str:
    """Write a grammar in the Java Speech Grammar Format, which pocketsphinx and others read.

    Args:
        language: a table without a glossary, whose expressions are English.
        names: what the model calls things.
        can_hear: whether the recogniser's dictionary has a word; what has others is left out.

    Returns:
        The grammar's text; its public rule is ``<command>``.
    """

    def rule(name: str, phrases: Iterable[str]) -> str:
        known = dict.fromkeys(phrase for phrase in phrases if all(map(can_hear, phrase.split())))
        return f"<{name}> = {' | '.join(known)};"

    nouns = [name for forms in names.nouns.values() for name, _ in forms]
    plurals = [name for forms in names.nouns.values() for _, name in forms]
    colors = [*objects.COLORS, *sum(vocabulary.COLOR_WORDS.values(), ())]
    sizes = sum(vocabulary.SIZE_WORDS.values(), ())
    patterns = [each for found in language.by_first_word.values() for each in found]
    lines = [
        "#JSGF V1.0;",
        "grammar commands;",
        rule("noun", nouns),
        rule("nouns", plurals),
        rule("adjective", (*colors, *sizes)),
        rule("article", _ARTICLES),
        rule("number", ("all the", "the", *vocabulary.COUNTS[2:])),
        rule("side", _SIDES),
        rule("relation", sum(vocabulary.RELATIONS.values(), ())),
        rule("which", _FOLLOW_UPS),
        "<name> = [<adjective>] <noun>;",
        "<one> = <article> <name> | <number> [<adjective>] <nouns>;",
        "<thing> = <one> [<side> | <relation> the <name>];",
        rule("onto", sum(_PLACES_OF.values(), ())),
        f"<put> = ({' | '.join(_openings(patterns, ('put',), can_hear))}) <thing> <onto> <one>;",
        *(f"<{kind}> = {' | '.join(_sentences(patterns, kind, can_hear))};" for kind in _KINDS),
        rule("stop", (" ".join(phrase) for phrase in language.phrases("stop").all)),
        rule("repeat", (" ".join(phrase) for phrase in language.phrases("repeat").all)),
        "<correct> = [no] (the (<which> | <adjective>) one) | no <one> | i meant <one>;",
        rule("please", ("please", "could you", "can you", "robot")),
        f"<sentence> = <put> | {' | '.join(f'<{kind}>' for kind in _KINDS)};",
        "public <command> = [<please>] <sentence> [please] | <thing> | <stop> | <repeat> | "
        "<correct>;",
    ]
    return "\n".join(lines) + "\n"


def _openings(
    patterns: Sequence[SentencePattern], kinds: Sequence[str], can_hear: Callable[[str], bool]
) -> list[str]:
    """What stands before the thing, of patterns that have nothing after it."""
    return list(
        dict.fromkeys(
            " ".join(each.before)
            for each in patterns
            if each.kind in kinds and not each.after and all(map(can_hear, each.before))
        )
    )


def _sentences(
    patterns: Sequence[SentencePattern], kind: str, can_hear: Callable[[str], bool]
) -> list[str]:
    openings = f"({' | '.join(_openings(patterns, (kind,), can_hear))}) <thing>"
    around = [
        " ".join((*each.before, "<one>", *each.after))
        for each in patterns
        if each.kind == kind and each.after and all(map(can_hear, (*each.before, *each.after)))
    ]
    return [openings, *dict.fromkeys(around)]
