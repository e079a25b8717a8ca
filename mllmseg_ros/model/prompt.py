# SPDX-License-Identifier: Apache-2.0
"""Build prompts from referring expressions, as token ids.

A template from the model's configuration has special tokens written out and three placeholders:
``{image}``, ``{expressions}`` and ``{answers}``. Expressions are inserted as plain text, so no
command can add a special token (see ``tokenizer``). Knows token ids, not tensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.model.tokenizer import Tokenizer

__all__ = ["PromptBuilder", "normalize_expression"]

SEG = "[SEG]"
REJ = "[REJ]"
_IMAGE_TOKEN = "<IMG_CONTEXT>"  # noqa: S105 - not a password
MAX_EXPRESSION_CHARS = 4096  # ReasonSeg's longest have some hundreds
MAX_EXPRESSIONS = 256  # at once; each has a mask of the image's size
_SHOWN = 60  # characters of an expression in an error
MAX_TOKENS_AT_ONCE = 16384  # of one call, in passes of 1024


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt, split after the image."""

    expressions: tuple[str, ...]  # normalised
    input_ids: tuple[int, ...]  # (L,) the whole prompt, with answer tokens
    image_start: int  # index of the first image token
    prefix_length: int  # tokens up to and including </img>, equal for all expressions
    answer_positions: tuple[int, ...]  # (N,) indices of the answer tokens

    @property
    def prefix_ids(self) -> tuple[int, ...]:
        """Token ids that all prompts on an image share."""
        return self.input_ids[: self.prefix_length]

    @property
    def suffix_ids(self) -> tuple[int, ...]:
        """Token ids after the prefix, up to the last state that is needed."""
        return self.input_ids[self.prefix_length : self.answer_positions[-1]]

    @property
    def state_positions(self) -> tuple[int, ...]:
        """Indices into :attr:`suffix_ids` of the states that predict the answer tokens.

        The reference reads every state one position early (docs/reference.md, section 6).
        """
        return tuple(position - 1 - self.prefix_length for position in self.answer_positions)


def check_expressions(expressions: Sequence[str]) -> None:
    """Check how many expressions there are, before anything is computed for one.

    Raises:
        ValueError: if they are no list of strings, or more than MAX_EXPRESSIONS.
    """
    if isinstance(expressions, str):
        shown = expressions[:_SHOWN]
        raise ValueError(
            f"expressions is one string, {shown!r}; give a list of strings: [{shown!r}]"
        )
    if not isinstance(expressions, Sequence):
        raise ValueError(
            f"expressions is of type {type(expressions).__name__}; give a list of strings, such as "
            "['the red mug']"
        )
    for number, expression in enumerate(expressions[: MAX_EXPRESSIONS + 1]):
        if not isinstance(expression, str):
            kind = type(expression).__name__
            raise ValueError(f"expressions[{number}] is of type {kind}; give a list of strings")
    if len(expressions) > MAX_EXPRESSIONS:
        raise ValueError(
            f"{len(expressions)} referring expressions at once, accepted are up to "
            f"{MAX_EXPRESSIONS}"
        )


def normalize_expression(expression: str) -> str:
    """Normalise an expression as the reference does: lower case, no outer spaces and full stops.

    Raises:
        ValueError: if nothing is left of it, or it is longer than MAX_EXPRESSION_CHARS.
    """
    if len(expression) > MAX_EXPRESSION_CHARS:
        raise ValueError(
            f"referring expression of {len(expression)} characters, accepted are up to "
            f"{MAX_EXPRESSION_CHARS}"
        )
    clean = expression.strip().lower().strip().strip(".")
    if not clean.strip():
        raise ValueError(f"empty referring expression: {expression!r}; name a thing to look for")
    return clean


class PromptBuilder:
    """Fills one model's prompt template."""

    def __init__(self, tokenizer: Tokenizer, template: str, n_image_tokens: int) -> None:
        """Parse a template.

        Args:
            tokenizer: the model's tokenizer.
            template: text with special tokens and placeholders, see the module's docstring.
            n_image_tokens: number of image tokens per image (256 published).

        Raises:
            ValueError: if the template lacks a placeholder or has an unknown special token.
        """
        for placeholder in ("<img>{image}</img>", "{answers}"):
            if template.count(placeholder) != 1:
                raise ValueError(
                    f"the prompt template must contain {placeholder!r} once: {template!r}"
                )
        if "{expressions}" in template.partition("{image}")[0]:
            raise ValueError(
                "the prompt template has {expressions} before {image}, which must come first: "
                f"the image is read once for all expressions: {template!r}"
            )
        self._tokenizer = tokenizer
        self._n_image_tokens = n_image_tokens
        names = sorted(tokenizer.special_ids, key=len, reverse=True)
        placeholders = ["{image}", "{expressions}", "{answers}"]
        self._parts = re.split("(" + "|".join(map(re.escape, placeholders + names)) + ")", template)
        self.seg_id = tokenizer.special_id(SEG)
        self.rej_id = tokenizer.special_id(REJ)

    def build(self, expressions: Sequence[str], answers: Sequence[str] | None = None) -> Prompt:
        """Build one prompt for all ``expressions`` together.

        Args:
            expressions: N >= 1 referring expressions.
            answers: ``[SEG]`` or ``[REJ]`` per expression; None means ``[SEG]`` for all.

        Raises:
            ValueError: if there is no expression or more than MAX_EXPRESSIONS, one is empty or too
                long, an answer is not a known token, or the prompt is too long for the model.
        """
        check_expressions(expressions)
        if not expressions:
            raise ValueError("no referring expression given; at least one is needed")
        normalized = tuple(normalize_expression(expression) for expression in expressions)
        answer_tokens = tuple(answers) if answers is not None else (SEG,) * len(normalized)
        if len(answer_tokens) != len(normalized) or set(answer_tokens) - {SEG, REJ}:
            raise ValueError(f"answers {answer_tokens!r} do not fit {len(normalized)} expressions")
        ids: list[int] = []
        text = ""  # plain text up to the next special token is encoded at once
        positions: list[int] = []
        image_start = 0

        def flush() -> None:
            nonlocal text
            ids.extend(self._tokenizer.encode_text(text))
            text = ""

        if self._tokenizer.bos is not None:
            ids.append(self._tokenizer.special_id(self._tokenizer.bos))
        for part in self._parts:
            if part == "{image}":
                image_start = len(ids)
                ids += [self._tokenizer.special_id(_IMAGE_TOKEN)] * self._n_image_tokens
            elif part == "{expressions}":
                text += ", ".join(normalized)
            elif part == "{answers}":
                for number, (expression, answer) in enumerate(
                    zip(normalized, answer_tokens, strict=True)
                ):
                    text += (", " if number else "") + expression + ":"
                    flush()
                    positions.append(len(ids))
                    ids.append(self._tokenizer.special_id(answer))
            elif part in self._tokenizer.special_ids:
                flush()
                ids.append(self._tokenizer.special_id(part))
            else:
                text += part
        flush()
        if len(ids) > self._tokenizer.max_length:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, this model reads at most "
                f"{self._tokenizer.max_length}; ask for fewer or shorter expressions"
            )
        return Prompt(
            expressions=normalized,
            input_ids=tuple(ids),
            image_start=image_start,
            prefix_length=image_start + self._n_image_tokens + 1,
            answer_positions=tuple(positions),
        )
