# SPDX-License-Identifier: Apache-2.0
"""The table of a language: phrases and sentence patterns.

Tables are in ``english.py`` and ``german.py``; docs/commands.md describes how to add one. Entry
points: :class:`Language`, :class:`Glossary`, :func:`word_set`, :func:`fold`.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

_FOLDED = str.maketrans({"’": "'", "ä": "ae", "ö": "oe", "ü": "ue"})
_GROUP = re.compile(r"\(([^()]*)\)")


def fold(text: str) -> str:
    """Normalise text for comparisons: lower case, plain apostrophes, umlauts as two letters."""
    return text.casefold().translate(_FOLDED)


def word_set(text: str) -> frozenset[str]:
    """Split a text into a set of folded words."""
    return frozenset(fold(text).split())


def word_map(text: str) -> dict[str, str]:
    """Parse "read: red, blew: blue" into a mapping."""
    pairs = (pair.split(":") for pair in text.split(","))
    return {key.strip(): value.strip() for key, value in pairs}


class Phrases:
    """Phrases of one or more words, looked up at a position in a sentence.

    Attributes:
        all: the phrases, each a tuple of folded words.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        self.all = tuple(dict.fromkeys(tuple(fold(phrase).split()) for phrase in phrases if phrase))
        self._from: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self._to: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for phrase in sorted(self.all, key=len, reverse=True):  # the longest first
            self._from[phrase[0]].append(phrase)
            self._to[phrase[-1]].append(phrase)

    def __contains__(self, keys: Sequence[str]) -> bool:
        return bool(keys) and tuple(keys) in self._from.get(keys[0], ())

    def length_at(self, keys: Sequence[str], start: int) -> int:
        """Number of words of the longest phrase that begins at a word; 0 without one."""
        for phrase in self._from.get(keys[start], ()) if start < len(keys) else ():
            if tuple(keys[start : start + len(phrase)]) == phrase:
                return len(phrase)
        return 0

    def length_before(self, keys: Sequence[str], end: int) -> int:
        """Number of words of the longest phrase that ends before a word; 0 without one."""
        for phrase in self._to.get(keys[end - 1], ()) if end else ():
            if len(phrase) <= end and tuple(keys[end - len(phrase) : end]) == phrase:
                return len(phrase)
        return 0


def expand_pattern(pattern: str) -> list[str]:
    """Expand a pattern: ``(pick|lift) {} up`` gives two. An empty choice omits the group."""
    parts = _GROUP.split(pattern)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return [" ".join("".join(chosen).split()) for chosen in itertools.product(*choices)]


@dataclass(frozen=True, kw_only=True)
class SentencePattern:
    """The words of a sentence before and after its thing."""

    kind: str  # a key of Language.sentences
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Prepositions of a destination."""

    role: str  # of the place: "place" for in or on it, otherwise "place_..."
    prepositions: str  # separated by "|"
    # "Next to the box on the desk" is beside that box, "next to the box in the bag" in the bag.
    wins: bool = False  # it is the destination even after "next to"


@dataclass(frozen=True, kw_only=True)
class Asides:
    """How statements beside a command begin (asides.py)."""

    phrases: Sequence[str]  # patterns: an aside begins wherever they follow a request
    subjects: frozenset[str]  # an aside begins after a pause, or if the statement has an object
    stating: frozenset[str]  # "he's": an aside begins unless the clause lacks an object
    objects: frozenset[str]  # "it": objects of a statement
    verbs: frozenset[str]  # "is", in "my leg is ..."
    open_ends: str  # regular expression for the last word of a clause that lacks an object

    @cached_property
    def starts(self) -> Phrases:
        """The phrases, prepared for lookups."""
        return Phrases(reading for each in self.phrases for reading in expand_pattern(each))

    def lacks_object(self, last: str) -> bool:
        """Whether a clause that ends with a word lacks an object, like a relative clause."""
        return re.fullmatch(self.open_ends, last) is not None


@dataclass(frozen=True, kw_only=True, eq=False)  # compared and cached by identity
class Uncovered:
    """What no pattern covers, so that it is refused (coverage.py)."""

    actions: frozenset[str]  # verbs of other requests: "open", in their imperative and infinitive
    idioms: str  # openers of sentences that name no thing, whatever follows: "take a picture"
    questions: str  # openers of questions that name no thing to look for
    conditions: str  # openers of clauses on which a request would depend
    quantities: str  # inexact numbers: "at least"
    leftovers: str  # what changes a request: "twice"
    no_things: str  # whole expressions that name nothing
    question_words: frozenset[str]  # with which no expression begins
    abstract: frozenset[str]  # nouns of what cannot be seen
    results: frozenset[str]  # states that an action would bring about: "open"
    each: frozenset[str]  # before a place: as many requests as there are places
    noted_closers: frozenset[str]  # words of closers that are requests: "and come back"

    def phrases(self, name: str) -> Phrases:
        """Get the phrases of a field, prepared for lookups."""
        return _phrases(self, name)


@dataclass(frozen=True, kw_only=True)
class Glossary:
    """English translations of another language's words, for the model."""

    # "Tasse Tassen", singular and plural, then other forms of the singular: both in English
    nouns: Mapping[str, tuple[str, str]]
    adjectives: Mapping[str, str]  # stem -> English; the endings are below
    endings: tuple[str, ...]  # that an adjective may have
    noun_endings: tuple[str, ...]  # that a noun may have beside its plural
    phrases: Mapping[str, str]  # all other words, also several at once
    parts: Mapping[str, str]  # first parts of compounds: "tee" in "Teetasse"
    shades: Mapping[str, str]  # first parts of colours: "dunkel" in "dunkelrot"
    plural_determiners: frozenset[str]  # before a noun whose plural looks like its singular
    plural_after: frozenset[str]  # English words after which "one" is "ones"


@dataclass(frozen=True, kw_only=True, eq=False)  # compared and cached by identity
class Language:
    """A language's table. Phrases are separated by "|"; case does not matter."""

    # Removed
    fillers: str  # anywhere
    openers: str  # before a sentence
    closers: str  # after a sentence
    asides: Asides
    # Repaired
    contractions: Mapping[str, str]  # "zum": "zu dem"
    numbers: Mapping[str, str]  # "2": "two", before a word for things
    misheard_adjectives: Mapping[str, str]  # "read": "red", before a word for things
    misheard_nouns: Mapping[str, str]  # "bawl": "ball", after an adjective
    # Sentences: kind ("pick", "find", "destination", "segment", "put", "carry") -> patterns.
    # "put" and "carry" move a thing; "put" wants a destination, "carry" may have one after
    # `carry_to`, and is "pick" without it.
    sentences: Mapping[str, Sequence[str]]
    nouns_too: frozenset[str]  # first words of patterns that may begin an expression as well
    destinations: Sequence[Destination]  # the first ones are preferred
    carry_to: str
    asking: str  # openers of questions, which may begin a sentence without a pause
    here: str  # words for a known place
    copulas: frozenset[str]  # verbs of relative clauses: "that is on the table"
    locative: frozenset[str]  # articles after which a preposition is a location, not a destination
    two_way: frozenset[str]  # the prepositions with this distinction
    # Whole sentences
    stop: str
    halt: frozenset[str]  # first words that stop, whatever follows, unless they name a thing
    repeat: str
    # Patterns of whole sentences that name no thing: movements, greetings, questions about itself
    nameless: Sequence[str]
    forbid: str  # openers of prohibitions, which stop
    forbid_at_end: str  # the same at the end
    # Corrections
    correct: str  # openers
    instead: str  # closers
    repairs: str  # in the middle of a sentence: the rest replaces the part before
    bare_repairs: str  # the same, before an article
    negations: str  # before what was not meant
    but: str  # between what was not meant and what was
    # Expressions
    connectors: str  # between sentences
    joiners: str  # between expressions
    binders: frozenset[str]  # words after which joiners do not split the expression
    determiners: frozenset[str]
    possessive: str  # regular expression of words used like an article: "grandpa's"
    pronouns: frozenset[str]
    tails: str  # prepositions, relative words: where the plain noun phrase ends
    sides: frozenset[str]  # "left": a preposition before it names no thing
    adjectives: frozenset[str]
    nouns: frozenset[str]  # singular and plural, every word of compound ones
    choices: str  # between things of which one is to be taken
    articles: frozenset[str]  # that cannot end an expression
    subordinators: frozenset[str]  # words after which a verb belongs to the expression
    persons: frozenset[str]  # "me": objects of verbs, not things
    object_pronouns: frozenset[str]  # which need a verb before them
    indefinite: frozenset[str]  # "something": tells of no kind of thing
    exactly: frozenset[str]  # words before a number that leave it as it is
    # Refused
    examples: str  # what is accepted instead, for errors
    uncovered: Uncovered
    glossary: Glossary | None = None  # None for English

    def is_determiner(self, key: str) -> bool:
        """Whether a word is an article or used like one: "the", "my", "grandpa's"."""
        return key in self.determiners or re.fullmatch(self.possessive, key) is not None

    def phrases(self, name: str) -> Phrases:
        """Get the phrases of a field, prepared for lookups."""
        return _phrases(self, name)

    @cached_property
    def things(self) -> frozenset[str]:
        """Words that occur in the name of a thing."""
        return self.adjectives | self.nouns

    @cached_property
    def nameless_phrases(self) -> Phrases:
        """Sentences that name no thing, prepared for lookups."""
        return Phrases(reading for each in self.nameless for reading in expand_pattern(each))

    @cached_property
    def prepositions(self) -> tuple[tuple[str, Phrases], ...]:
        """Role and prepositions, the preferred ones first."""
        return tuple(
            (each.role, Phrases(each.prepositions.split("|"))) for each in self.destinations
        )

    @cached_property
    def by_first_word(self) -> Mapping[str, Sequence[SentencePattern]]:
        """Sentence patterns that begin with a word; "" for those that begin with the thing."""
        found: dict[str, list[SentencePattern]] = defaultdict(list)
        for kind, patterns in self.sentences.items():
            for pattern in patterns:
                for reading in expand_pattern(pattern):
                    before, after = (tuple(fold(part).split()) for part in reading.split("{}"))
                    found[before[0] if before else ""].append(
                        SentencePattern(kind=kind, before=before, after=after)
                    )
        for each in found.values():  # the longest pattern fits best
            each.sort(key=lambda pattern: len(pattern.before) + len(pattern.after), reverse=True)
        return dict(found)


@cache
def _phrases(table: Language | Uncovered, name: str) -> Phrases:
    return Phrases(getattr(table, name).split("|"))
