# SPDX-License-Identifier: Apache-2.0
"""Decide whether recognised speech is a command, and which.

Each text that an utterance may be is read by the command parser, also with words that sound alike
(known_words.py). The likelihoods of readings that are the same command are added up. A command is
accepted if it is much more likely than all others; if it is one of two, the speaker is asked;
otherwise it is rejected. Entry points: :func:`decide` for one utterance, :class:`Dialogue` for one
after the other, with answers to questions.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mllmseg_ros.error_text import escape_invisible
from mllmseg_ros.language import vocabulary
from mllmseg_ros.language.asides import split_lead_in
from mllmseg_ros.language.command import Command, parse_command
from mllmseg_ros.language.conversation import LANGUAGES, REPEAT_ACT, understand
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.language import fold, word_set
from mllmseg_ros.language.plain_text import is_in_brackets, normalize_text
from mllmseg_ros.language.result_sentences import find_head_noun
from mllmseg_ros.language.sentence import begins_with_verb
from mllmseg_ros.language.words import split_words
from mllmseg_ros.speech.known_words import KnownWords, Reading
from mllmseg_ros.speech.transcription import Hypothesis, Transcription

__all__ = ["Dialogue", "Rules", "decide"]

# "Again" and "the other one" are commands too, because the segmenter knows the last one.
_BEFORE = parse_command("pick: the red mug")

# Natural logarithms of odds, as the costs in known_words.py; tuned with `benchmarks/speech.py
# --tune`.
_COST_OF_NO_COMMAND = 2.0
_MAX_COST = 5.0  # of the best reading; two unknown words make it talk
_MIN_SHARE = 0.8  # of a command, of all readings
_MIN_SHARE_OF_TWO = 0.8  # of the two commands that the speaker is asked about
_ODDS_OF_THE = 3.0  # against "a" and "my"
_MIN_SHARE_OF_STOP = 0.3
_QUESTION_S = 15.0  # how long an answer is expected
_ANSWERS = (("first", "former"), ("second", "latter", "last", "other"))
_ANY_ARTICLE = frozenset({"the", "a", "an", "my"})
_SAME = {"grey": "gray"} | {
    word: size for size, words in vocabulary.SIZE_WORDS.items() for word in words
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Conditions for a command."""

    language: str = "en"  # key of LANGUAGES
    wake_word: str = ""  # first words of every command; "" for none
    min_confidence: float = 0.5  # [0, 1]; ignored for recognisers without confidence
    known_words: KnownWords | None = None  # None takes every word as it was heard


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which of two commands was meant."""

    text: str  # "the red mug or the red bowl?"
    commands: tuple[str, str]
    names: tuple[str, str]  # what differs in them


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A command, a question, or why there is neither."""

    command: str  # "" if there is none
    reason: str  # one line: why there is none, or which words were replaced; "" for neither
    question: Question | None = None


@dataclass(frozen=True, kw_only=True)
class _Understood:
    """A reading and what the parser says of it."""

    reading: Reading
    weight: float  # relative likelihood
    command: Command | None  # None if it is no command
    reason: str  # why it is none


def decide(transcription: Transcription, rules: Rules, *, clipped: bool = False) -> Decision:
    """Decide whether a transcription is a command."""
    if clipped:
        return _reject("the audio is clipped; reduce the gain of the microphone")
    if is_in_brackets(transcription.text):
        return _reject("it is a sound, not speech")
    if not normalize_text(transcription.text):
        return _reject("no command was heard in it")
    if transcription.confidence < rules.min_confidence:  # false for NaN
        return _reject(
            f"confidence {transcription.confidence:.2f} is under min_confidence "
            f"{rules.min_confidence:.2f}"
        )
    hypotheses = transcription.hypotheses or (
        Hypothesis(text=transcription.text, log_likelihood=0.0),
    )
    understood: list[_Understood] = []
    for hypothesis in hypotheses:
        try:
            text = _strip_wake_word(normalize_text(hypothesis.text), rules)
        except ValueError as error:
            if hypothesis is hypotheses[0]:
                return _reject(str(error))
            continue
        log_odds = hypothesis.log_likelihood - hypotheses[0].log_likelihood
        understood += _understand_readings(text, log_odds, rules)
    return _choose(understood)


def _reject(reason: str) -> Decision:
    return Decision(command="", reason=reason)


def _strip_wake_word(text: str, rules: Rules) -> str:
    if not rules.wake_word:
        return text
    match = re.match(rf"{re.escape(rules.wake_word)}\b[\s,.!:]*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"it does not start with the wake word {rules.wake_word!r}")
    if match.end() == len(text):
        raise ValueError("there is no command after the wake word")
    return text[match.end() :]


def _understand_readings(text: str, log_odds: float, rules: Rules) -> Iterator[_Understood]:
    known = rules.known_words
    for reading in known.read(text) if known else [Reading(text=text, cost=0.0)]:
        command: Command | None = None
        reason = ""
        try:
            command = _understand(reading.text, rules.language)
        except ValueError as error:
            reason = str(error)
        if reading.replaced and (
            command is None or (known and not known.fits(reading, command.expressions))
        ):
            continue
        cost = reading.cost + (_COST_OF_NO_COMMAND if command is None else 0.0)
        yield _Understood(
            reading=reading, weight=math.exp(log_odds - cost), command=command, reason=reason
        )


def _understand(text: str, language_key: str) -> Command:
    """Understand a text as a command.

    Raises:
        ValueError: It is none; says why.
    """
    language = LANGUAGES[language_key]
    parsed_words = split_words(text, language)
    understood = understand(text, language, _BEFORE)
    # Typed text is always meant for the robot, speech may be meant for others. So sentences that
    # the parser does not understand are rejected here, and so is "my brother bought a new house".
    if "not understood" in understood.note or not (
        understood.command.is_stop
        or understood.act == REPEAT_ACT
        or begins_with_verb(parsed_words, language)
        or any(split_lead_in(parsed_words, language))
        or all(map(_names_a_known_thing, understood.command.expressions))
    ):
        raise ValueError("it is not understood as a command")
    return understood.command


def _names_a_known_thing(expression: str) -> bool:
    words = expression.split()
    return find_head_noun(words) is not None or fold(words[0]) in ENGLISH.things


# ---- the choice between readings


def _choose(understood: Sequence[_Understood]) -> Decision:
    """Choose the command that all readings together make most likely."""
    shares: dict[str, float] = {}
    best: dict[str, _Understood] = {}
    total = sum(each.weight for each in understood)
    for each in understood:
        key = _get_key(each.command)
        shares[key] = shares.get(key, 0.0) + each.weight / total
        if key not in best or _rank_in_group(each) > _rank_in_group(best[key]):
            best[key] = each
    ranking = sorted(shares, key=lambda key: shares[key], reverse=True)
    first = best[ranking[0]]
    for key in ranking:  # better one stop too many
        stop = best[key]
        if stop.command is not None and stop.command.is_stop and shares[key] >= _MIN_SHARE_OF_STOP:
            return Decision(command=stop.reading.text, reason="")
    if first.command is None:
        return _reject(first.reason)
    if first.reading.cost > _MAX_COST:
        return _reject("too many of its words are not known")
    if shares[ranking[0]] >= _MIN_SHARE:
        replaced = ", ".join(f"{heard!r} as {read!r}" for heard, read in first.reading.replaced)
        return Decision(command=first.reading.text, reason=replaced and f"heard {replaced}")
    others = [key for key in ranking[1:] if key]
    if others and shares[ranking[0]] + shares[others[0]] >= _MIN_SHARE_OF_TWO:
        question = _build_question(first, best[others[0]])
        return Decision(
            command="", reason=f"asked back: {escape_invisible(question.text)}", question=question
        )
    return _reject(f"it is not certain that it is {escape_invisible(first.reading.text)!r}")


def _rank_in_group(each: _Understood) -> float:
    """Rank readings that are the same command: "a mug" sounds like "the mug", which is usual."""
    is_usual = re.search(r"\b(a|an|my)\b", each.reading.text) is None
    return each.weight * (_ODDS_OF_THE if is_usual else 1.0)


def _get_key(command: Command | None) -> str:
    """Get what readings have in common that are the same command; "" for none."""
    return "" if command is None else _without_variants(command.text)


def _without_variants(expression: str) -> str:
    """Remove what sounds alike and means the same: punctuation, articles, "gray" and "grey"."""
    words = re.findall(r"[^\s.,!?-]+", expression.lower())
    return " ".join(_SAME.get(word, word) for word in words if word not in _ANY_ARTICLE)


def _build_question(first: _Understood, second: _Understood) -> Question:
    assert first.command is not None
    assert second.command is not None
    commands = (first.reading.text, second.reading.text)
    pairs = list(zip(first.command.expressions, second.command.expressions, strict=False))
    different = [pair for pair in pairs if len(set(map(_without_variants, pair))) > 1]
    is_same_action = first.command.intent == second.command.intent
    is_one = is_same_action and len(different) == 1
    names = different[0] if is_one else commands
    one, other = (name.strip(" .,!?") for name in names)
    return Question(text=f"{one} or {other}?", commands=commands, names=(one, other))


# ---- one utterance after the other


class Dialogue:
    """Decides on utterances; the answer to a question completes the command. Thread-safe.

    Attributes:
        rules: can be replaced at any time.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._lock = threading.Lock()
        self._question: Question | None = None
        self._until_s = 0.0  # monotonic

    def decide(self, transcription: Transcription, *, clipped: bool = False) -> Decision:
        """Decide on an utterance."""
        with self._lock:
            question = self._question if time.monotonic() < self._until_s else None
            decision = decide(transcription, self.rules, clipped=clipped)
            is_heard = not clipped and not transcription.confidence < self.rules.min_confidence
            if question is not None and is_heard:
                answer = _find_answer(question, transcription)
                if answer is not None:
                    decision = Decision(command=question.commands[answer], reason="")
            self._question = decision.question
            self._until_s = time.monotonic() + _QUESTION_S
        return decision


def _find_answer(question: Question, transcription: Transcription) -> int | None:
    """Find which of two commands an utterance chooses; None if it does not."""
    said = set(map(fold, re.findall(r"\w+", transcription.text)))
    names = [set(map(fold, name.split())) for name in question.names]
    for at, (name, other) in enumerate(zip(names, names[::-1], strict=True)):
        chosen = (name - other) | set(_ANSWERS[at])
        left = (other - name) | set(_ANSWERS[1 - at])
        if said & chosen and not said & left and said <= chosen | name | _AROUND_ANSWERS:
            return at
    return None


_AROUND_ANSWERS = word_set("the a an one yes please no i meant robot")
