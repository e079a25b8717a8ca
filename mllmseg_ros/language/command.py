# SPDX-License-Identifier: Apache-2.0
"""Text commands: ``the mug; the bowl``, ``pick: the mug; place: the bowl``, ``stop``.

Commands may come from anybody on the network, so their length is checked and their text normalised
here, before they reach a model or a message. Uses neither ROS nor models.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.language.plain_text import normalize_text

__all__ = ["parse_command"]

MAX_EXPRESSIONS = 16
MAX_EXPRESSION_CHARS = 256
MAX_COMMAND_CHARS = 4096

STOP_INTENT = "stop"
DEFAULT_INTENT = "segment"
_INTENTS = {"destination": "go_to"}  # by role; others have the name of the role
_KNOWN_ROLES = ("pick", "place", "destination", "find")

# A role is one word, so that "the clock at 12:30" keeps its colon.
_ROLE = re.compile(r"([A-Za-z]\w{0,31})\s*:(.*)", re.ASCII | re.DOTALL)
# After an expression with a role, another role begins a part: "pick: the mug, place: the bowl".
_NEXT_ROLE = re.compile(
    r"[\s,.]+(?:(?:and|then)\s+)*(?=(?:pick|place(?:_\w+)?|destination|find)\s*:)"
    r"|[,.]\s*(?=[A-Za-z]\w{0,31}\s*:)",
    re.ASCII | re.IGNORECASE,
)
AROUND_STOP = " .,!?;:-"
_SHOWN = 40  # characters of a command in an error


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing that a command names."""

    expression: str  # the referring expression, whitespace collapsed
    role: str  # lower-case word before the colon, "" without one


@dataclass(frozen=True, kw_only=True)
class Command:
    """A parsed command; without targets it is a stop."""

    intent: str  # "pick_and_place", "pick", "go_to", ...; "segment" without roles; "stop"
    targets: tuple[Target, ...]

    @property
    def expressions(self) -> list[str]:
        """The referring expressions, in the order asked."""
        return [target.expression for target in self.targets]

    @property
    def text(self) -> str:
        """The structured form, which :func:`parse_command` parses to this command."""
        if self.is_stop:
            return STOP_INTENT
        return "; ".join(
            f"{target.role}: {target.expression}" if target.role else target.expression
            for target in self.targets
        )

    @property
    def is_stop(self) -> bool:
        """Whether this ends the previous command."""
        return not self.targets


def parse_command(text: str) -> Command:
    """Parse a command in structured form.

    Expressions are separated by ";", those with roles also by a comma, a full stop or nothing but
    the next known role. A word and a colon before an expression give its role; the roles together
    are the intent, in which "destination" becomes "go_to". Empty text is a stop, and
    so is "stop" alone, as a role or as one of several expressions.

    Raises:
        ValueError: The command is too long, has too many expressions, names nothing, or has a role
            without an expression.
    """
    return parse_plain_text(check_text(text))


def parse_plain_text(text: str) -> Command:
    """Parse a command whose text :func:`check_text` has normalised; see :func:`parse_command`."""
    if not text or text.strip(AROUND_STOP).lower() == STOP_INTENT:
        return Command(intent=STOP_INTENT, targets=())
    targets = [_parse_target(part) for part in split_parts(text)]
    if not targets:
        raise ValueError(
            "command has separators but names nothing to look for; send e.g. 'the red mug'"
        )
    if any(
        STOP_INTENT in (each.role, each.expression.strip(AROUND_STOP).lower()) for each in targets
    ):
        return Command(intent=STOP_INTENT, targets=())
    return build_command(targets)


def split_parts(text: str) -> list[str]:
    """Split a text in structured form into its expressions, each with its role."""
    parts: list[str] = []
    for part in filter(None, map(str.strip, text.split(";"))):
        parts += _NEXT_ROLE.split(part) if _ROLE.fullmatch(part) else [part]
    return parts


def split_role(part: str) -> tuple[str, str]:
    """Split a part into role, lower-case ("" without one), and expression."""
    match = _ROLE.fullmatch(part.strip())
    return (match[1].lower(), match[2]) if match else ("", part)


def is_known_role(role: str) -> bool:
    """Whether a role has a meaning of its own; a program may give others."""
    return role in _KNOWN_ROLES or role.startswith("place_")


def check_text(text: str) -> str:
    """Normalise the text of a command.

    Returns:
        The text as in :func:`~mllmseg_ros.language.plain_text.normalize_text`; "" only where there
        was nothing to see.

    Raises:
        ValueError: The text is too long, or nothing of it is text.
    """
    plain = normalize_text(text) if len(text) <= MAX_COMMAND_CHARS else text
    if len(plain) > MAX_COMMAND_CHARS:
        raise ValueError(
            f"command has {len(plain)} characters, accepted are up to {MAX_COMMAND_CHARS}"
        )
    is_visible = any(unicodedata.category(each)[0] not in "CZM" for each in text)
    if is_visible and not any(each.isalnum() for each in plain):
        raise ValueError(
            f"command {text[:_SHOWN]!a} names nothing to look for; send e.g. 'the red mug'"
        )
    return plain


def build_command(targets: Sequence[Target]) -> Command:
    """Build a command from targets.

    Raises:
        ValueError: There are too many, or an expression is too long.
    """
    if len(targets) > MAX_EXPRESSIONS:
        raise ValueError(
            f"command names {len(targets)} things, accepted are up to {MAX_EXPRESSIONS}"
        )
    for target in targets:
        if len(target.expression) > MAX_EXPRESSION_CHARS:
            raise ValueError(
                f"an expression has {len(target.expression)} characters, accepted are up to "
                f"{MAX_EXPRESSION_CHARS}"
            )
    roles = dict.fromkeys(target.role for target in targets if target.role)
    intents = [_INTENTS.get(role, role) for role in roles]
    return Command(intent="_and_".join(intents) or DEFAULT_INTENT, targets=tuple(targets))


def _parse_target(part: str) -> Target:
    role, expression = split_role(part)
    expression = " ".join(expression.split())
    if not expression:
        raise ValueError(f"role {role!r} has no expression; send e.g. '{role}: the red mug'")
    return Target(expression=expression, role=role)
