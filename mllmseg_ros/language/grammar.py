# SPDX-License-Identifier: Apache-2.0
"""A grammar of commands for speech recognisers.

Free dictation mistakes commands for prose; with this grammar a recogniser accepts nothing else. The
names of things come from a model's vocabulary. The grammar has the usual sentences only: with all
of english.py, recognition takes four times as long as the speech and is less accurate. A test
checks that the parser understands random sentences of the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from mllmseg_ros.language import vocabulary

__all__ = ["build_jsgf", "build_matcher", "collect_words", "names_of_things"]

# Before a thing; the parser knows all of them.
_VERBS = (
    *("pick up", "grab", "take", "get", "lift", "fetch", "hold"),
    *("give me", "hand me", "pass me", "bring me", "get me"),
    *("find", "where is", "where are", "can you see", "do you see", "look for", "is there"),
    *("show me", "point at", "look at", "track", "follow"),
    *("go to", "drive to", "move to"),
)
# Before "a" and "my", which are otherwise confused with "the".
_ASK = ("find", "where is", "can you see", "do you see", "look for", "is there", "bring me")
_PUT = ("put", "place", "move", "set", "drop")
_WHERE_TO = ("in", "into", "on", "onto", "to", "next to", "beside", "behind", "in front of")
_SIDES = ("on the left", "on the right", "in the middle", "in front", "at the back")
_FOLLOW_UPS = ("bigger", "smaller", "other", "left", "right", "first", "second", "third", "last")
_MORE_COLORS = ("brown", "gray")  # not "violet", as which small recognisers recognise noise
_STOP = ("stop", "halt", "wait", "cancel", "never mind", "forget it", "stop moving")
_REPEAT = ("again", "once more", "repeat", "try again", "do it again")


def build_jsgf(
    names: vocabulary.Vocabulary = vocabulary.VARIED,
    *,
    own_names: Sequence[str] = (),
    can_hear: Callable[[str], bool] = lambda word: True,
    wake_word: str = "",
) -> str:
    """Write a grammar in the Java Speech Grammar Format, which pocketsphinx and others read.

    Args:
        names: the model's names of things.
        own_names: more names of things.
        can_hear: whether the recogniser's dictionary has a word; phrases with others are omitted.
        wake_word: first word of every command; "" for none.

    Returns:
        The grammar's text, with one rule per line; the public rule is ``<command>``.
    """

    def rule(name: str, phrases: Iterable[str]) -> str:
        known = dict.fromkeys(phrase for phrase in phrases if all(map(can_hear, phrase.split())))
        return f"<{name}> = {' | '.join(known)};"

    nouns = [*names_of_things(names), *own_names]
    plurals = [name for forms in names.nouns.values() for _, name in forms]
    colors = [*vocabulary.COLORS, *_MORE_COLORS]
    command = (
        "[<please>] (<verb> <thing> | <ask> (a | my) <name> | <put>) [please] | <thing> | <stop> | "
        "<repeat> | <correct>"
    )
    lines = [
        "#JSGF V1.0;",
        "grammar commands;",
        rule("noun", nouns),
        rule("nouns", plurals),
        rule("color", colors),
        rule("size", sum(vocabulary.SIZE_WORDS.values(), ())),
        rule("side", _SIDES),
        rule("relation", sum(vocabulary.RELATIONS.values(), ())),
        rule("which", _FOLLOW_UPS),
        rule("verb", _VERBS),
        rule("ask", _ASK),
        rule("onto", _WHERE_TO),
        "<name> = [<size>] [<color>] <noun>;",
        "<number> = all the | [the] (two | three | four);",
        "<one> = the <name> | <number> [<size>] [<color>] <nouns>;",
        "<thing> = <one> [<side> | <relation> the <name>];",
        f"<put> = ({' | '.join(_PUT)}) <one> <onto> <one>;",
        rule("stop", _STOP),
        rule("repeat", _REPEAT),
        "<correct> = [no] the (<which> | <size> | <color>) one | no <one> | i meant <one>;",
        rule("please", ("please", "could you", "can you", "robot")),
        f"public <command> = {f'{wake_word} ({command})' if wake_word else command};",
    ]
    return "\n".join(lines) + "\n"


def names_of_things(names: vocabulary.Vocabulary = vocabulary.VARIED) -> list[str]:
    """List the singular names of things: "mug", "cup", "coffee mug"."""
    return [name for forms in names.nouns.values() for name, _ in forms]


def collect_words(grammar: str) -> frozenset[str]:
    """Collect the words of a grammar of :func:`build_jsgf`."""
    rules = " ".join(re.findall(r"= ([^;]+);", grammar))
    return frozenset(re.findall(r"[^\s<>()\[\]|]+", re.sub(r"<\w+>", "", rules)))


def build_matcher(grammar: str) -> re.Pattern[str]:
    """Compile a grammar of :func:`build_jsgf` to a regular expression for complete sentences.

    Recognisers also return incomplete sentences, if the speech ends early.
    """
    rules = dict(re.findall(r"<(\w+)> = ([^;]+);", grammar))

    def pattern(rule: str) -> str:
        parts = []
        for token in re.findall(r"<\w+>|[()\[\]|]|[^\s<>()\[\]|]+", rules[rule]):
            if token[0] == "<":
                parts.append(f"(?:{pattern(token[1:-1])})")
            else:
                parts.append(_SYNTAX.get(token) or f"{re.escape(token)} ")
        return "".join(parts)

    return re.compile(pattern("command"))


_SYNTAX = {"(": "(?:", ")": ")", "[": "(?:", "]": ")?", "|": "|"}
