# SPDX-License-Identifier: Apache-2.0
"""Parse which things a sentence names, and in which roles, without earlier commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mllmseg_ros.language.language import Language, SentencePattern
from mllmseg_ros.language.words import Word, word_keys

__all__ = ["Mention", "find_clause_without_destination", "parse_sentence", "parse_things"]

ROLES_OF_ACTIONS = ("pick", "place", "destination")
_KINDS_THAT_MOVE = ("put", "carry")
_BESIDE = "place_beside"


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A thing that a sentence names."""

    role: str  # "pick", "place", "place_beside", ..., "destination", "find"; "" without one
    words: tuple[Word, ...]  # its expression
    moved: bool = False  # it is to be put somewhere
    is_restated: bool = False  # it follows another one after a mere pause: "the mug, the red one"


def parse_sentence(words: Sequence[Word], language: Language) -> list[Mention] | None:
    """Parse a sentence with a known verb, or several joined by "and".

    Returns:
        The things named, in their order; None without a known verb.
    """
    words = _strip_before_verb(words, language)
    clauses = [_parse_clause(clause, language) for clause in _split_clauses(words, language)]
    if any(clause is None for clause in clauses):
        return None
    return [mention for clause in clauses for mention in clause or ()]


def find_clause_without_destination(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Find the clause that would move a thing but does not say where to; empty without one."""
    words = _strip_before_verb(words, language)
    for clause in _split_clauses(words, language):
        match = _match_verb(strip_closers(clause, language), language, strict=True)
        if match is not None and match[0].kind == "put" and _parse_clause(clause, language) is None:
            return clause
    return ()


def parse_things(words: Sequence[Word], language: Language) -> list[Mention] | None:
    """Parse one or several things without a verb; None if there is none.

    Words after a preposition are not split: "the mug next to the can and the bowl" is one thing.
    """
    words = strip_politeness(words, language)
    if not begins_with_thing(words, language):
        return None
    return _split_mentions(words, language, unless_related=True)


def strip_politeness(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Remove openers and closers of a sentence."""
    return strip_closers(strip_openers(words, language), language)


def iterate_stripped(words: Sequence[Word], language: Language) -> Iterator[list[str]]:
    """Yield the folded words, then without openers, then without one closer after another."""
    yield word_keys(words)
    words = strip_openers(words, language)
    while words:
        yield word_keys(words)
        length = _length_of_closer(words, language)
        if not length:
            return
        words = words[: len(words) - length]


def strip_closers(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Remove closers after a sentence."""
    while length := _length_of_closer(words, language):
        words = words[: len(words) - length]
    return words


def _length_of_closer(words: Sequence[Word], language: Language) -> int:
    """Number of words of the closer that a sentence ends with: of "follow the man" none."""
    length = language.phrases("closers").length_before(word_keys(words), len(words))
    begin = len(words) - length
    if length == 1 and begin and not words[begin - 1].pause:
        before = words[begin - 1].key
        is_noun = words[begin].key in language.nouns and before in language.adjectives
        if is_noun or before in language.articles:
            return 0
    return length


def strip_openers(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Remove openers before a sentence."""
    openers = language.phrases("openers")
    while length := openers.length_at(word_keys(words), 0):
        rest = words[length:]
        is_noun_phrase = bool(rest) and (
            rest[0].key in language.things or all(language.is_determiner(word.key) for word in rest)
        )
        if is_noun_phrase and words[0].key in language.adjectives:  # "next one", "next mug"
            break
        words = rest
    return words


def begins_with_thing(words: Sequence[Word], language: Language) -> bool:
    """Whether an expression begins here, judged by its first word."""
    if not words:
        return False
    return language.is_determiner(words[0].key) or words[0].key in language.things


# ---- sentences


def _split_clauses(words: Sequence[Word], language: Language) -> list[Sequence[Word]]:
    """Split before each connector, pause or question that is followed by a verb."""
    keys, connectors = word_keys(words), language.phrases("connectors")
    asking = language.phrases("asking")
    clauses, start, at = [], 0, 1
    while at < len(words):
        length = connectors.length_at(keys, at)
        asks = asking.length_at(keys, at) and begins_with_verb(words[start:at], language)
        if length or words[at - 1].pause or asks:
            rest = words[at + length :]
            if begins_with_verb(rest, language):
                if strip_openers(words[start:at], language):
                    clauses.append(words[start:at])
                start = at = at + length
        at += 1
    return [*clauses, words[start:]]


def begins_with_verb(words: Sequence[Word], language: Language) -> bool:
    """Whether a sentence begins here: a known verb, and then surely something that it names."""
    return _match_verb(words, language, strict=True) is not None


def _parse_clause(words: Sequence[Word], language: Language) -> list[Mention] | None:
    words = strip_closers(words, language)
    match = _match_verb(words, language)
    if match is None:
        return None
    pattern, thing = match
    while len(thing) > 1 and thing[0].key in language.exactly:  # "exactly two mugs"
        thing = thing[1:]
    if len(thing) > 1 and thing[0].key in language.binders and language.is_determiner(thing[1].key):
        thing = thing[1:]  # "both the mug and the bowl"
    role = {"segment": "", "carry": "pick"}.get(pattern.kind, pattern.kind)
    if pattern.kind in _KINDS_THAT_MOVE:
        needs_carry_to = pattern.kind == "carry"
        moves = _split_moves(thing, language, needs_carry_to=needs_carry_to)
        if moves:
            return moves
        if pattern.kind == "put":
            return None
    return _split_mentions(thing, language, role=role)


def _split_moves(
    words: Sequence[Word], language: Language, *, needs_carry_to: bool
) -> list[Mention]:
    """Split what is moved from its destination, and "the mug in the bowl and the can on the tray".

    Returns:
        The things and their destinations, in order; none without a destination.
    """
    parts = [list(each.words) for each in _split_mentions(words, language)]
    moves = [_split_destination(part, language, needs_carry_to=needs_carry_to) for part in parts]
    if len(parts) == 1 or not all(moves):
        moves = [_split_destination(words, language, needs_carry_to=needs_carry_to)]
    return [
        mention
        for move in moves
        if move is not None
        for mention in (
            *_split_mentions(move[0], language, role="pick", moved=True),
            Mention(role=move[1], words=tuple(move[2])),
        )
    ]


def _match_verb(
    words: Sequence[Word], language: Language, *, strict: bool = False
) -> tuple[SentencePattern, Sequence[Word]] | None:
    """Find the pattern of a sentence, and the words that fill it; skips openers.

    Args:
        words: the sentence, without closers.
        language: table.
        strict: require that an expression begins after the verb.
    """
    openers = language.phrases("openers")
    while words:
        keys = word_keys(words)
        length = openers.length_at(keys, 0)
        begins_with_thing = () if length else language.by_first_word.get("", ())
        for pattern in (*language.by_first_word.get(keys[0], ()), *begins_with_thing):
            begin, end = len(pattern.before), len(words) - len(pattern.after)
            if begin >= end or tuple(keys[:begin]) != pattern.before or (strict and not begin):
                continue
            if not strict and tuple(keys[end:]) != pattern.after:
                continue
            if pattern.after and keys[end - 1] in language.articles:  # "at the back"
                continue
            thing = words[begin : len(words) if strict else end]
            is_noun_too = begin == 1 and keys[0] in language.nouns_too
            if _may_begin_expression(thing, language, strict=strict or is_noun_too):
                return pattern, thing
        if not length:
            return None
        words = words[length:]
    return None


def _strip_before_verb(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Remove openers before the verb: "go ahead and" is not a sentence."""
    match = _match_verb(words, language, strict=True)
    if match is None:
        return words
    pattern, thing = match
    return words[len(words) - len(thing) - len(pattern.before) :]


def _may_begin_expression(words: Sequence[Word], language: Language, *, strict: bool) -> bool:
    keys = word_keys(words)
    if language.is_determiner(keys[0]) or keys[0] in language.pronouns:
        return True
    if strict:
        return keys[0] in language.things
    return not language.phrases("tails").length_at(keys, 0)


def _split_destination(
    words: Sequence[Word], language: Language, *, needs_carry_to: bool
) -> tuple[Sequence[Word], str, Sequence[Word]] | None:
    """Split at the preposition of the destination: what is moved, role of the place, the place.

    Of several prepositions the one preferred by the table counts ("in" before "on"), and of equal
    ones the last.

    Args:
        words: the words after the verb.
        language: table.
        needs_carry_to: require a preposition of `carry_to`, followed by a word for a thing.
    """
    keys, best, best_rank = word_keys(words), None, len(language.prepositions)
    is_bound, at = False, 1
    while at < len(words):
        if language.phrases("here").length_at(keys, at) == len(words) - at:
            return words[:at], "place", words[at:]
        is_bound = is_bound or keys[at] in language.binders
        rank, length = _match_preposition(keys, at, language)
        rest = keys[at + length :]
        if (
            length
            and rank <= best_rank
            and (best is None or _may_follow(best_rank, rank, language))
            and not _belongs_to_expression(keys, at, rest, is_bound, language)
            and not _is_infinitive(rest, language)
            and (
                not needs_carry_to
                or _is_carry_destination(keys[at : at + length], words[at + length :], language)
            )
        ):
            best, best_rank = (at, length), rank
        # A preposition may begin in a side: "in front of" in "on the right in front of".
        at += 1 if _is_side(rest, language) else max(1, length)
    if best is None:
        return None
    at, length = best
    return words[:at], language.prepositions[best_rank][0], words[at + length :]


def _is_infinitive(keys: Sequence[str], language: Language) -> bool:
    """Whether a verb and no place follows a preposition: "something to drink"."""
    begin = 0
    while begin < len(keys) - 1 and language.is_determiner(keys[begin]):  # "zu dem Trinken"
        begin += 1
    if keys[begin] not in language.uncovered.actions and (
        begin or keys[begin] not in language.by_first_word
    ):
        return False
    is_named = begin + 1 < len(keys) and keys[begin + 1] in language.nouns  # "work station"
    return not is_named and not (begin and keys[begin] in language.nouns_too)


def _may_follow(best_rank: int, rank: int, language: Language) -> bool:
    """Whether a preposition after the best one so far may replace it."""
    best, after = language.destinations[best_rank], language.destinations[rank]
    return best.role == after.role or best.role != _BESIDE or after.wins


def _is_carry_destination(
    preposition: Sequence[str], words: Sequence[Word], language: Language
) -> bool:
    is_numbered = len(words) > 1 and words[1].key.isdigit()  # "stall 6"
    is_named = is_numbered or _may_begin_expression(words, language, strict=True)
    return preposition in language.phrases("carry_to") and is_named


def _match_preposition(keys: Sequence[str], at: int, language: Language) -> tuple[int, int]:
    """Get rank and number of words of the longest preposition at a word; 0 words without one."""
    lengths = [phrases.length_at(keys, at) for _, phrases in language.prepositions]
    longest = max(lengths)
    return lengths.index(longest), longest


def _belongs_to_expression(
    keys: Sequence[str], at: int, rest: Sequence[str], is_bound: bool, language: Language
) -> bool:
    """Whether a preposition belongs to an expression rather than to a destination.

    That is so before a side ("on the left"), before a pronoun after "with" ("with the banana in
    it"), after the verb of a relative clause ("that is on the table"), and with a locative article
    ("in der").
    """
    return (
        not rest
        or _is_side(rest, language)
        or (is_bound and (rest[0] in language.pronouns - language.determiners))
        or keys[at - 1] in language.copulas
        or (keys[at] in language.two_way and rest[0] in language.locative)
        or _match_preposition(rest, 0, language)[1] > 0
    )


def _is_side(keys: Sequence[str], language: Language) -> bool:
    """Whether a side is named next: "the left", "the far left in ..."."""
    index = 0
    while index < len(keys) and (keys[index] in language.determiners):
        index += 1
    while index < len(keys) and keys[index] in language.adjectives - language.sides:
        index += 1
    if index >= len(keys) or keys[index] not in language.sides:
        return False
    after = index + 1
    return after == len(keys) or bool(language.phrases("tails").length_at(keys, after))


# ---- expressions


def _split_mentions(
    words: Sequence[Word],
    language: Language,
    *,
    role: str = "",
    moved: bool = False,
    unless_related: bool = False,
) -> list[Mention]:
    """Split "the mug, the can and the bowl", but not "the mug between the can and the bowl"."""
    keys, joiners, tails = word_keys(words), language.phrases("joiners"), language.phrases("tails")
    is_action = role in ROLES_OF_ACTIONS
    things, ends = [(0, False)], []
    at, is_bound = 1, keys[0] in language.binders
    while at < len(words):
        is_choice = is_action and language.phrases("choices").length_at(keys, at) > 0
        length = 0 if is_choice else joiners.length_at(keys, at)
        follows = at + length
        begins = follows < len(words) and (
            language.is_determiner(keys[follows])
            or keys[follows] in language.pronouns
            or _are_bare_names(words[things[-1][0] : at], words[follows:], language)
        )
        if (length or words[at - 1].pause) and begins and not is_bound:
            things.append((follows, not length))
            ends.append(at)
            at = follows + 1
            continue
        is_bound = is_bound or keys[at] in language.binders
        is_bound = is_bound or (unless_related and bool(tails.length_at(keys, at)))
        at += 1
    return [
        Mention(role=role, words=tuple(words[begin:end]), moved=moved, is_restated=is_restated)
        for (begin, is_restated), end in zip(things, [*ends, len(words)], strict=True)
    ]


def _are_bare_names(words: Sequence[Word], after: Sequence[Word], language: Language) -> bool:
    """Whether names follow each other without articles: "the mug, bowl and plate"."""
    keys = word_keys(words)
    while keys and language.is_determiner(keys[0]):
        keys = keys[1:]
    joiners, tails = language.phrases("joiners"), language.phrases("tails")
    all_after, end = word_keys(after), 0
    while end < len(after) and not joiners.length_at(all_after, end):
        end += 1
        if after[end - 1].pause or tails.length_at(all_after, end):
            break
    return _is_bare_name(keys, language) and _is_bare_name(all_after[:end], language)


def _is_bare_name(keys: Sequence[str], language: Language) -> bool:
    return bool(keys) and keys[-1] in language.nouns and language.things.issuperset(keys)
