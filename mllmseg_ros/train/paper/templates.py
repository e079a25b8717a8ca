# SPDX-License-Identifier: Apache-2.0
"""Questions and answers of the training dialogs, worded as in the paper's code.

Source: docs/reference.md, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["draw_dialog"]

MAX_EXPRESSIONS = 5  # per sample

QUESTIONS = (
    "Can you segment {x} in this image?",
    "Please segment {x} in this image.",
    "What are {x} in this image? Please respond with segmentation masks.",
    "What are {x} in this image? Please output segmentation masks.",
)
# Start of the answer and form of each part, drawn together. {a} is [SEG] or [REJ].
ANSWERS = (
    ("The segmentation results are", "{x} {a}"),
    ("Sure, they are", "{x}:{a}"),
    ("Sure,", "the mask of {x} is {a}"),
    ("Sure,", "the segmentation of {x} is {a}"),
    ("Sure,", "the referred {x} is {a}"),
)


@dataclass(frozen=True, kw_only=True)
class Dialog:
    """A question and its answer in words, with the answer tokens between the texts."""

    question: str
    answer_texts: tuple[str, ...]  # (N + 1,) before, between and after the N answer tokens
    has_target: tuple[bool, ...]  # (N,) [SEG], or [REJ]


def draw_dialog(
    expressions: Sequence[str], has_target: Sequence[bool], rng: np.random.Generator
) -> Dialog:
    """Draw the dialog of one sample: one question with all expressions, answered in turn."""
    question = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
    answer = ANSWERS[int(rng.integers(len(ANSWERS)))]
    return word_dialog(question, answer, expressions, has_target)


def word_dialog(
    question: str, answer: tuple[str, str], expressions: Sequence[str], has_target: Sequence[bool]
) -> Dialog:
    """Fill templates. The question has the expressions in lower case, the answer as written.

    Raises:
        ValueError: if there is no expression, or not one answer to each.
    """
    if not expressions or len(expressions) != len(has_target):
        raise ValueError(f"{len(has_target)} answers to {len(expressions)} expressions")
    start, part = answer
    before, after = part.split("{a}")
    texts, text = [], start + " "
    for index, expression in enumerate(expressions):
        texts.append(text + (", " if index else "") + before.replace("{x}", expression))
        text = after
    return Dialog(
        question=question.replace("{x}", ", ".join(each.lower() for each in expressions)),
        answer_texts=(*texts, text + "."),
        has_target=tuple(has_target),
    )
