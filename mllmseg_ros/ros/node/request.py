# SPDX-License-Identifier: Apache-2.0
"""A parsed command with an id, and the events that close it or report stale input.

Knows commands and times, nothing of images, models or ROS.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from mllmseg_ros.language.command import Command
from mllmseg_ros.language.conversation import LANGUAGES, Conversation
from mllmseg_ros.language.several_texts import understand_each

__all__ = ["EndReason", "Request", "RequestEvent", "RequestFactory"]


class EndReason(Enum):
    """Why a request gets a message without an image."""

    REFUSED = "REFUSED"
    SUPERSEDED = "SUPERSEDED"
    STOPPED = "STOPPED"
    STALE_INPUT = "STALE_INPUT"  # the only one after which the request stays in force


@dataclass(frozen=True, kw_only=True)
class Request:
    """One received command."""

    request_id: str  # unique, over restarts too
    text: str  # as received
    stamp_ns: int  # ns, ROS time of reception
    command: Command | None  # None: refused
    refusal: str = ""  # why it was refused
    note: str = ""  # how it was understood, where that is not plain from the text

    @property
    def is_stop(self) -> bool:
        """Whether it ends the command before it instead of naming something."""
        return self.command is not None and self.command.is_stop

    @property
    def description(self) -> str:
        """How it was understood, or why it was refused; one line for people."""
        if self.command is None:
            return self.refusal
        return self.note or f"understood as '{self.command.text}'"

    @property
    def accepted(self) -> Command:
        """The command of a request that was not refused.

        Raises:
            ValueError: with the reason, if it was refused.
        """
        if self.command is None:
            raise ValueError(self.refusal)
        return self.command


@dataclass(frozen=True, kw_only=True)
class RequestEvent:
    """The end of a request, or that its input is stale."""

    request: Request
    reason: EndReason
    text: str  # one line for people


class RequestFactory:
    """Turns text into requests. May be called from any thread.

    Text becomes a command here, in structured form or in words. A node has one conversation, so
    that "the other one" may follow on any camera's topic.
    """

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def receive(
        self, text: str, now_ns: int, *, language: str = "en", remember: bool = True
    ) -> Request:
        """Read a command and give it an id, also where it is refused.

        Args:
            text: as received.
            now_ns: ROS time, ns.
            language: of the text, a key of :data:`mllmseg_ros.language.conversation.LANGUAGES`.
            remember: later commands may refer to this one ("again", "the other one"); False for
                requests beside the command in force.
        """
        request_id = self._next_id()
        command, refusal, note = None, "", ""
        try:
            understood = self._conversation.understand(text, language, remember=remember)
            command, note = understood.command, understood.note
        except ValueError as error:
            refusal = str(error)
        return Request(
            request_id=request_id,
            text=text,
            stamp_ns=now_ns,
            command=command,
            refusal=refusal,
            note=note,
        )

    def receive_expressions(
        self, expressions: Sequence[str], now_ns: int, *, language: str, remember: bool
    ) -> Request:
        """Read expressions, each on its own; a single one may be any command."""
        if len(expressions) < 2:
            return self.receive("".join(expressions), now_ns, language=language, remember=remember)
        said = "; ".join(expressions)
        try:
            each = understand_each(expressions, LANGUAGES[language])
        except ValueError as error:
            return Request(
                request_id=self._next_id(),
                text=said,
                stamp_ns=now_ns,
                command=None,
                refusal=str(error),
            )
        request = self.receive(each.command.text, now_ns, language=language, remember=remember)
        notes = dict.fromkeys(filter(None, (each.note, request.note)))
        return replace(request, text=said, note="; ".join(notes))

    def _next_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"
