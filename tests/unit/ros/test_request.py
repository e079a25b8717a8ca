# SPDX-License-Identifier: Apache-2.0
"""Text becomes requests, each with an id of its own."""

from __future__ import annotations

from mllmseg_ros.ros.node.request import RequestFactory


def test_sentences_follow_on_commands_and_not_on_private_requests() -> None:
    factory = RequestFactory()
    factory.receive("please pick up the red mug", 0)
    factory.receive("where is the bowl", 1, remember=False)
    request = factory.receive("no, the blue one", 2)
    assert request.command is not None
    assert (request.text, request.command.text) == ("no, the blue one", "pick: the blue mug")
    assert request.note == "understood as 'pick: the blue mug'"
    assert factory.receive("never mind", 3).is_stop
    assert factory.receive("again", 4).command == request.command


def test_the_language_may_change_while_people_speak() -> None:
    factory = RequestFactory()
    assert "not understood" in factory.receive("nimm die rote Tasse", 0).note
    command = factory.receive("nimm die rote Tasse", 1, language="de").command
    assert command is not None
    assert (command.intent, command.expressions) == ("pick", ["the red mug"])


def test_request_ids_are_unique_over_restarts() -> None:
    ids = [
        factory.receive(text, 0).request_id
        for factory in (RequestFactory(), RequestFactory())
        for text in ("a", "a", "pick:", "stop")
    ]
    assert len(set(ids)) == len(ids)
