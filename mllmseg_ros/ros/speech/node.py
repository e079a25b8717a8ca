# SPDX-License-Identifier: Apache-2.0
"""Node ``speech``: recognises spoken commands, publishes them and speaks the results.

It has no lifecycle: it moves nothing and uses no camera. Recognition and speaking run in threads of
their own; callbacks only pass data to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, Header, String

from mllmseg_ros.error_text import escape_invisible
from mllmseg_ros.language.command import MAX_COMMAND_CHARS
from mllmseg_ros.msg import SegmentationArray, Transcript
from mllmseg_ros.ros.messages.image_msgs import time_message
from mllmseg_ros.ros.speech.audio_msgs import get_frame_id, message_type, read_samples
from mllmseg_ros.ros.speech.parameters import NO_RECOGNISER, SpeechParameters
from mllmseg_ros.ros.speech.spoken_replies import SpokenReplies
from mllmseg_ros.ros.support import parameter_fields
from mllmseg_ros.ros.support.qos import overridable
from mllmseg_ros.ros.support.spin import run
from mllmseg_ros.speech import recogniser
from mllmseg_ros.speech.activity import Endpointer, SileroVad
from mllmseg_ros.speech.audio import Samples
from mllmseg_ros.speech.decision import Dialogue, Rules
from mllmseg_ros.speech.known_words import load_known_words
from mllmseg_ros.speech.listener import Listener, RecognisedUtterance
from mllmseg_ros.speech.microphone import Microphone
from mllmseg_ros.speech.transcription import Transcription
from mllmseg_ros.speech.voice import Voice

__all__ = ["main"]

_WARN_EVERY_S = 5.0
_CHECK_S = 0.5
# Matches best-effort and reliable drivers; on one machine a reliable one loses nothing.
_AUDIO_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


class SpeechNode(Node):
    """Publishes command, transcript and say from audio or text, and from segmentations."""

    def __init__(self) -> None:
        super().__init__("speech")
        self._settings = parameter_fields.declare(self, SpeechParameters)
        settings = self._settings
        self._commands = self.create_publisher(String, "command", 10)
        self._transcripts = self.create_publisher(Transcript, "transcript", 10)
        self._replies_publisher = self.create_publisher(String, "say", 10)
        self._replies = SpokenReplies()
        self._known_words = load_known_words(settings.language, settings.names)
        self._dialogue = Dialogue(self._rules())
        self._frame_id = ""
        self._dropped_s = 0.0
        self._listener: Listener | None = None
        self._microphone: Microphone | None = None
        self._voice: Voice | None = None
        self.done: int | None = (
            None  # exit status, once a thread has ended that cannot be restarted
        )
        if settings.speak:
            self._voice = Voice(self._on_silence, settings.voice)
            self.create_subscription(String, "say", self._on_say, 10)
        if settings.recogniser == NO_RECOGNISER:
            self.create_subscription(_text_type(settings.text_type), "text", self._on_text, 10)
        else:
            self._start_listening()
        self.create_subscription(SegmentationArray, "segmentations", self._on_result, 10)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_timer(
            _CHECK_S, self._check_threads, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        where = {"topic": "audio", "microphone": "the microphone"}[settings.source]
        if settings.recogniser == NO_RECOGNISER:
            where = "text"
        self.get_logger().info(f"listening to {where} with recogniser {settings.recogniser}")

    def stop(self) -> None:
        """Stop the threads."""
        for each in (self._microphone, self._listener, self._voice):
            if each is not None:
                each.close()

    def _start_listening(self) -> None:
        settings = self._settings
        pause_s = math.inf if settings.push_to_talk else settings.pause
        self._listener = Listener(
            Endpointer(SileroVad(), pause_s),
            recogniser.load(
                settings.recogniser,
                model=settings.recogniser_model,
                language=settings.language,
                wake_word=settings.wake_word,
                names=settings.names,
                beam_size=settings.beam_size,
                threads=settings.threads,
            ),
            self._dialogue,
            self._on_heard,
            self._on_problem,
            push_to_talk=settings.push_to_talk,
        )
        if settings.push_to_talk:
            self.create_subscription(Bool, "push_to_talk", self._on_push_to_talk, 10)
        if settings.source == "microphone":
            self._open_microphone()
        else:
            kind = message_type(settings.audio_type)
            self.create_subscription(
                kind,
                "audio",
                self._on_audio,
                _AUDIO_QOS,
                qos_overriding_options=overridable(),
            )

    def _open_microphone(self) -> None:
        self._microphone = Microphone(self._settings.microphone, self._feed, self._on_problem)

    def _check_threads(self) -> None:
        """Restart what has ended, or end the process so that its supervisor does."""
        for name, thread in (("listener", self._listener), ("voice", self._voice)):
            if thread is not None and not thread.is_alive:
                self.get_logger().error(f"thread {name} has stopped: the node exits")
                self.done = 1
        if self._microphone is None or self._microphone.is_recording:
            return
        self.get_logger().error("the microphone delivers no audio any more: reopening it")
        self._microphone.close()
        try:
            self._open_microphone()
        except RuntimeError as error:
            self.get_logger().error(f"{error}: the node exits")
            self.done = 1

    def _rules(self) -> Rules:
        settings = self._settings
        return Rules(
            language=settings.language,
            wake_word=settings.wake_word,
            min_confidence=settings.min_confidence,
            known_words=self._known_words,
        )

    # Input

    def _on_audio(self, message: Any) -> None:
        try:
            samples = read_samples(message)
        except ValueError as error:
            self._warn(f"audio is ignored: {error}")
            return
        self._frame_id = get_frame_id(message)
        self._feed(samples)

    def _feed(self, samples: Samples) -> None:
        """Pass on samples that end now; also called by PortAudio's thread."""
        assert self._listener is not None
        if self._voice is not None and self._voice.is_speaking:
            return
        self._listener.feed(samples, self.get_clock().now().nanoseconds / 1e9)
        if self._listener.dropped_s > self._dropped_s:
            self._dropped_s = self._listener.dropped_s
            self._warn(
                f"recognition is too slow, {self._dropped_s:.0f} s of audio were dropped; use a "
                "smaller model or push_to_talk"
            )

    def _on_push_to_talk(self, message: Bool) -> None:
        assert self._listener is not None
        self._listener.set_talk_button(message.data)

    def _on_text(self, message: Any) -> None:
        words = Transcription(
            text=message.text if hasattr(message, "text") else message.data, confidence=math.nan
        )
        if len(words.text) > MAX_COMMAND_CHARS:
            self._warn(
                f"text has {len(words.text)} characters, accepted are up to {MAX_COMMAND_CHARS}"
            )
            return
        now_s = self.get_clock().now().nanoseconds / 1e9
        self._on_heard(
            RecognisedUtterance(
                transcription=words,
                decision=self._dialogue.decide(words),
                start_s=now_s,
                end_s=now_s,
            )
        )

    def _on_result(self, message: SegmentationArray) -> None:
        text = self._replies.reply_to(message)
        if text:
            self._replies_publisher.publish(String(data=text))

    def _on_say(self, message: String) -> None:
        assert self._voice is not None
        self._voice.say(message.data)
        if self._listener is not None:
            self._listener.reset()

    def _on_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        try:
            self._settings = parameter_fields.changed(self._settings, changes, configured=True)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._dialogue.rules = self._rules()
        return SetParametersResult(successful=True)

    # Output; called in the threads of the listener and the voice

    def _on_heard(self, heard: RecognisedUtterance) -> None:
        command = heard.decision.command
        if command:
            self._replies.add_command(command)
            self._commands.publish(String(data=command))
        if heard.decision.question is not None:
            text = escape_invisible(heard.decision.question.text)
            self._replies_publisher.publish(String(data=text))
        start = _to_message(heard.start_s)
        self._transcripts.publish(
            Transcript(
                header=Header(stamp=start, frame_id=self._frame_id),
                start=start,
                end=_to_message(heard.end_s),
                text=heard.transcription.text,
                confidence=heard.transcription.confidence,
                recogniser=self._settings.recogniser,
                is_command=bool(command),
                command=command,
                reason=heard.decision.reason,
            )
        )
        outcome = f"command {command[:80]!a}" if command else f"no command: {heard.decision.reason}"
        self.get_logger().debug(f"heard {heard.transcription.text[:80]!a}, {outcome}")

    def _on_problem(self, problem: str) -> None:
        self.get_logger().error(problem, throttle_duration_sec=_WARN_EVERY_S)

    def _on_silence(self, problem: str) -> None:
        if problem:
            self._warn(f"speaking failed; is there a sound device? {problem!a}")
        if self._listener is not None:
            self._listener.reset()

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=_WARN_EVERY_S)


def _text_type(text_type: str) -> type:
    if text_type == "string":
        return String
    try:
        return import_module("whisper_msgs.msg").Transcription
    except ImportError:
        raise RuntimeError(
            "whisper_msgs is not installed; install it, or set text_type to string"
        ) from None


def _to_message(seconds: float) -> Time:
    return time_message(round(seconds * 1e9))


def main(args: list[str] | None = None) -> int:
    """Run the node until a signal ends it; return the exit status."""
    return run(SpeechNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
