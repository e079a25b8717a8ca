# SPDX-License-Identifier: Apache-2.0
"""From audio on a topic to a mask and a spoken reply: two nodes, real audio."""

from __future__ import annotations

import math
import os
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
pytest.importorskip("silero_vad", reason="silero-vad is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "speech"))

import cv2
import policy
from mllmseg_ros.msg import SegmentationArray, Transcript
from rclpy.publisher import Publisher
from ros_harness import Client, NodeProcess, new_domain
from speaking import MISSING, speak
from std_msgs.msg import Bool, String, UInt8MultiArray

from mllmseg_ros.ros.speech.audio_msgs import get_frame_id, read_samples
from mllmseg_ros.speech.audio import SAMPLE_RATE

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

FRAME = Path(__file__).resolve().parents[2] / "mllmseg_ros" / "assets" / "frames" / "frame_0.png"
RGB = cv2.cvtColor(cv2.imread(str(FRAME)), cv2.COLOR_BGR2RGB)


class Person:
    """Publishes speech and collects transcripts and replies."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.audio = client.node.create_publisher(UInt8MultiArray, "audio", 500)
        self.transcripts: list[Transcript] = []
        self.commands: list[str] = []
        self.spoken: list[str] = []
        node = client.node
        node.create_subscription(Transcript, "transcript", self.transcripts.append, 10)
        node.create_subscription(String, "command", lambda m: self.commands.append(m.data), 10)
        node.create_subscription(String, "say", lambda m: self.spoken.append(m.data), 10)

    def send(self, data: bytes) -> None:
        self.audio.publish(UInt8MultiArray(data=data))

    def say(self, text: str) -> None:
        """Publish speech."""
        samples = speak(text)
        for at in range(0, len(samples), SAMPLE_RATE // 10):
            self.send(samples[at : at + SAMPLE_RATE // 10].tobytes())
            self.client.spin(0.01)

    def speak(self, text: str) -> Transcript:
        """Publish speech and wait for its transcript."""
        n = len(self.transcripts)
        self.say(text)
        self.client.wait(lambda: len(self.transcripts) > n)
        return self.transcripts[n]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[NodeProcess]]:
    """Both nodes in one domain, started at the same time."""
    domain = new_domain()
    both = [
        NodeProcess(domain, "--ros-args", "-p", "device:=cpu"),
        NodeProcess(domain, executable="speech"),
    ]
    for process, line in zip(both, ("listening on", "listening to audio"), strict=True):
        process.wait_for(line)
    yield both
    for process in both:
        assert process.end() == 0, process.log
        assert "Traceback" not in process.log


@pytest.fixture(scope="module")
def node(nodes: list[NodeProcess]) -> NodeProcess:
    return nodes[0]


@pytest.fixture(scope="module")
def speech(nodes: list[NodeProcess]) -> NodeProcess:
    return nodes[1]


@pytest.fixture(scope="module")
def talking(speech: NodeProcess, connection: Client) -> Person:
    person = Person(connection)
    connection.wait(lambda: person.audio.get_subscription_count())
    connection.wait(lambda: connection.node.count_publishers("command") > 1)
    return person


def test_a_spoken_command_gets_a_mask_and_a_reply(talking: Person, client: Client) -> None:
    client.send_image(RGB)
    transcript = talking.speak("show me the red mug")
    assert (transcript.text, transcript.is_command) == ("show me the red mug", True)
    assert transcript.recogniser == "pocketsphinx"
    assert 0.5 < transcript.confidence <= 1
    length_s = (transcript.end.sec - transcript.start.sec) + (
        transcript.end.nanosec - transcript.start.nanosec
    ) * 1e-9
    assert 0.8 < length_s < 2.5
    client.wait(lambda: client.to("show me the red mug"), each=lambda: client.send_image(RGB))
    result = client.to("show me the red mug")[0]
    assert result.status == SegmentationArray.STATUS_OK
    client.wait(lambda: client.masks and talking.spoken)
    assert np.count_nonzero(np.frombuffer(client.masks[-1].data, np.uint8)) > 100
    assert talking.spoken == ["I see the red mug."]
    client.spin(0.5, each=lambda: client.send_image(RGB))
    assert len(talking.spoken) == 1  # for the first result only


def test_talk_is_not_a_command_and_the_transcript_says_why(talking: Person, client: Client) -> None:
    n = len(talking.commands)
    transcript = talking.speak("how was your weekend at the lake")
    assert not transcript.is_command
    assert transcript.reason
    client.spin(0.3)
    assert len(talking.commands) == n


@pytest.mark.threat("S1")
def test_bad_audio_is_reported_and_the_node_continues(
    talking: Person, client: Client, speech: NodeProcess
) -> None:
    talking.send(b"abc")
    speech.wait_for("3 bytes; accepted: an even number")
    talking.send(bytes(4_000_000))
    client.spin(0.3)
    assert talking.speak("stop").command == "stop"


@contextmanager
def _talking_alone_to(*parameters: str) -> Iterator[tuple[Person, NodeProcess]]:
    """Start a speech node with parameters, alone in its domain."""
    domain = new_domain()
    arguments = [part for parameter in parameters for part in ("-p", parameter)]
    process = NodeProcess(domain, "--ros-args", *arguments, executable="speech")
    client = Client(domain)
    try:
        person = Person(client)
        process.wait_for("listening to")
        client.wait(lambda: client.node.count_publishers("transcript"))
        yield person, process
        assert process.end() == 0, process.log
        assert "Traceback" not in process.log
    finally:
        client.close()
        process.end()


def test_text_of_another_recogniser_becomes_commands() -> None:
    with _talking_alone_to("recogniser:=none", "wake_word:=robot") as (person, process):
        client = person.client
        texts = client.node.create_publisher(String, "text", 10)
        client.wait(texts.get_subscription_count)
        for text in ("Robot, pick up the red mug.", "pick up the red mug", "robot " * 1000):
            texts.publish(String(data=text))
        process.wait_for("text has 6000 characters, accepted are up to")
        client.wait(lambda: len(person.transcripts) == 2)
        first, second = person.transcripts
        assert (first.command, first.recogniser) == ("pick up the red mug.", "none")
        assert math.isnan(first.confidence)
        assert not second.is_command
        assert "wake word 'robot'" in second.reason
        assert person.commands == ["pick up the red mug."]


def test_push_to_talk_limits_recognition_to_held_time() -> None:
    with _talking_alone_to("push_to_talk:=true") as (person, _):
        client = person.client
        button = client.node.create_publisher(Bool, "push_to_talk", 10)
        client.wait(button.get_subscription_count)
        client.wait(person.audio.get_subscription_count)
        person.say("show me the banana")
        client.spin(0.5)
        held = threading.Event()
        holding = threading.Thread(target=_hold, args=(button, held))
        holding.start()
        client.spin(0.5)  # audio and button are different topics
        person.say("show me the red mug")
        client.spin(2.0)
        assert not person.transcripts
        held.set()
        holding.join()
        button.publish(Bool(data=False))
        client.wait(lambda: person.transcripts)
        assert [each.text for each in person.transcripts] == ["show me the red mug"]


def _hold(button: Publisher, released: threading.Event) -> None:
    while not released.wait(0.4):
        button.publish(Bool(data=True))


@pytest.mark.threat("S2")
def test_push_to_talk_is_let_go_when_the_console_dies_while_it_is_held() -> None:
    with _talking_alone_to("push_to_talk:=true") as (person, process):
        client = person.client
        button = client.node.create_publisher(Bool, "push_to_talk", 10)
        client.wait(button.get_subscription_count)
        client.wait(person.audio.get_subscription_count)
        button.publish(Bool(data=True))  # and not again
        person.say("show me the red mug")
        process.wait_for("push_to_talk was not repeated for 1.5 s: it is released")
        person.say("show me the banana")
        client.spin(1.0)
        button.publish(Bool(data=False))
        client.spin(1.0)
        assert not person.transcripts


DEAD_THREADS = {
    "listener": "Listener._run = lambda self: None",
    "voice": "Voice._run = lambda self: None",
}


@pytest.mark.parametrize("thread", DEAD_THREADS)
@pytest.mark.threat("S1")
def test_a_thread_that_has_ended_for_good_ends_the_process(thread: str, tmp_path: Path) -> None:
    script = tmp_path / "node.py"
    script.write_text(
        "from mllmseg_ros.ros.speech import node\n"
        "from mllmseg_ros.speech.listener import Listener\n"
        "from mllmseg_ros.speech.voice import Voice\n"
        f"{DEAD_THREADS[thread]}\n"
        "raise SystemExit(node.main())\n"
    )
    process = NodeProcess(new_domain(), "--ros-args", "-p", "speak:=true", script=str(script))
    assert process.process.wait(60) == 1
    process.end()
    assert f"thread {thread} has stopped" in process.log
    assert "Traceback" not in process.log


def test_it_does_not_recognise_its_own_voice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real one ends at once without a sound device; this one takes a while.
    (tmp_path / "espeak-ng").write_text("#!/bin/sh\ncat >/dev/null\nexec sleep 3\n")
    (tmp_path / "espeak-ng").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with _talking_alone_to("speak:=true") as (person, _):
        monkeypatch.undo()
        client = person.client
        mouth = client.node.create_publisher(String, "say", 10)
        client.wait(lambda: mouth.get_subscription_count() > 1)
        client.wait(person.audio.get_subscription_count)
        mouth.publish(String(data="I see the red mug."))
        client.spin(0.5)
        person.say("show me the banana")
        client.spin(4.0)
        assert not person.transcripts
        assert person.speak("show me the red mug").text == "show me the red mug"


def test_messages_of_both_audio_common_packages_are_read() -> None:
    """The packages are not installed here; the fields are those of their definitions."""
    samples = [1, -2, 300]
    data = SimpleNamespace(data=array("B", np.array(samples, "<i2").tobytes()))
    header = SimpleNamespace(frame_id="head")
    inner = SimpleNamespace(int16_data=array("h", samples))
    info = SimpleNamespace(rate=SAMPLE_RATE, channels=1)
    stamped = [
        SimpleNamespace(header=header, audio=data),
        SimpleNamespace(header=header, audio=SimpleNamespace(audio_data=inner, info=info)),
        SimpleNamespace(header=header, audio=SimpleNamespace(audio=inner, info=info)),
    ]
    for message in (data, *stamped):
        assert read_samples(message).tolist() == samples
    assert [get_frame_id(each) for each in (data, *stamped)] == ["", "head", "head", "head"]
    info.channels = 2
    with pytest.raises(ValueError, match="2 channels; accepted: 16000 Hz, one channel"):
        read_samples(stamped[1])


def test_parameters_and_policy(client: Client, speech: NodeProcess, talking: Person) -> None:
    (result,) = client.set_parameters("/speech", wake_word="robot")
    assert not result.successful
    assert client.set_parameters("/speech", min_confidence=1.0)[0].successful
    assert "confidence" in talking.speak("stop").reason
    assert client.set_parameters("/speech", min_confidence=0.5)[0].successful
    at_times = {"/clock", "/push_to_talk", "/text", "/say", "/speech/get_type_description"}
    policy.check(client.node, "speech", at_times)
