# SPDX-License-Identifier: Apache-2.0
"""Referring expressions to token ids: the prompt that MLLMSeg was trained to read.

A template is a string with special tokens written out and three places: ``{image}``,
``{expressions}`` and ``{answers}``; it comes from the model's configuration. Expressions are put in
as plain text, so no command can add a special token (see ``tokenizer``). Knows ids, not tensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.model.tokenizer import Tokenizer

__all__ = ["PromptBuilder", "normalized"]

SEG = "[SEG]"
REJ = "[REJ]"
_IMAGE_TOKEN = "<IMG_CONTEXT>"  # noqa: S105 - no password


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt, cut where the image ends."""

    expressions: tuple[str, ...]  # as asked, normalised
    input_ids: tuple[int, ...]  # (L,) the whole prompt, answer included
    image_start: int  # index of the first image token
    prefix_length: int  # tokens up to and including </img>: the same for every expression
    answer_positions: tuple[int, ...]  # (N,) index of each expression's answer token

    @property
    def prefix_ids(self) -> tuple[int, ...]:
        """Token ids that every prompt on this image shares."""
        return self.input_ids[: self.prefix_length]

    @property
    def suffix_ids(self) -> tuple[int, ...]:
        """Token ids after the prefix, up to the last state that is read."""
        return self.input_ids[self.prefix_length : self.answer_positions[-1]]

    @property
    def state_positions(self) -> tuple[int, ...]:
        """Index into :attr:`suffix_ids` of the state that predicts each answer.

        The reference reads every state one position early (golden facts, section 6).
        """
        return tuple(position - 1 - self.prefix_length for position in self.answer_positions)


def normalized(expression: str) -> str:
    """Spell an expression as the reference does: lower case, no outer spaces and full stops.

    Raises:
        ValueError: if nothing is left of it.
    """
    clean = expression.strip().lower().strip().strip(".")
    if not clean.strip():
        raise ValueError(f"empty referring expression: {expression!r}; name a thing to look for")
    return clean


class PromptBuilder:
    """Fill one model's template."""

    def __init__(self, tokenizer: Tokenizer, template: str, n_image_tokens: int) -> None:
        """Read a template.

        Args:
            tokenizer: the model's tokenizer.
            template: text with special tokens and the places named in the module's docstring.
            n_image_tokens: image tokens a frame takes (256 published).

        Raises:
            ValueError: if the template lacks a place or names an unknown special token.
        """
        for place in ("<img>{image}</img>", "{answers}"):
            if template.count(place) != 1:
                raise ValueError(f"the prompt template must hold {place!r} once: {template!r}")
        if "{expressions}" in template.partition("{image}")[0]:
            raise ValueError(
                "the prompt template names {expressions} before {image}, which must come first: "
                f"the picture is read once for all expressions: {template!r}"
            )
        self._tokenizer = tokenizer
        self._n_image_tokens = n_image_tokens
        names = sorted(tokenizer.special_ids, key=len, reverse=True)
        places = ["{image}", "{expressions}", "{answers}"]
        self._parts = re.split("(" + "|".join(map(re.escape, places + names)) + ")", template)
        self.seg_id = tokenizer.special(SEG)
        self.rej_id = tokenizer.special(REJ)

    def build(self, expressions: Sequence[str], answers: Sequence[str] | None = None) -> Prompt:
        """Build one prompt that asks for all ``expressions`` together.

        Args:
            expressions: N >= 1 referring expressions.
            answers: ``[SEG]`` or ``[REJ]`` per expression; None means ``[SEG]`` for all.

        Raises:
            ValueError: if there is no expression, one is empty, an answer is another word, or the
                prompt is longer than the model's limit.
        """
        if not expressions:
            raise ValueError("no referring expression given; at least one is needed")
        asked = tuple(normalized(expression) for expression in expressions)
        given = tuple(answers) if answers is not None else (SEG,) * len(asked)
        if len(given) != len(asked) or set(given) - {SEG, REJ}:
            raise ValueError(f"answers {given!r} do not fit {len(asked)} expressions")
        ids: list[int] = []
        text = ""  # plain text is encoded in one go up to the next special token
        positions: list[int] = []
        image_start = 0

        def flush() -> None:
            nonlocal text
            ids.extend(self._tokenizer.text(text))
            text = ""

        if self._tokenizer.bos is not None:
            ids.append(self._tokenizer.special(self._tokenizer.bos))
        for part in self._parts:
            if part == "{image}":
                image_start = len(ids)
                ids += [self._tokenizer.special(_IMAGE_TOKEN)] * self._n_image_tokens
            elif part == "{expressions}":
                text += ", ".join(asked)
            elif part == "{answers}":
                for number, (expression, answer) in enumerate(zip(asked, given, strict=True)):
                    text += (", " if number else "") + expression + ":"
                    flush()
                    positions.append(len(ids))
                    ids.append(self._tokenizer.special(answer))
            elif part in self._tokenizer.special_ids:
                flush()
                ids.append(self._tokenizer.special(part))
            else:
                text += part
        flush()
        if len(ids) > self._tokenizer.max_length:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, this model reads at most "
                f"{self._tokenizer.max_length}; ask for fewer or shorter expressions"
            )
        return Prompt(
            expressions=asked,
            input_ids=tuple(ids),
            image_start=image_start,
            prefix_length=image_start + self._n_image_tokens + 1,
            answer_positions=tuple(positions),
        )
