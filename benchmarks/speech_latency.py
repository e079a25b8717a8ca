# SPDX-License-Identifier: Apache-2.0
"""Latency from the end of speech to the mask, with both nodes as processes and audio in real time.

Part of ``benchmarks/speech.py --latency``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
from mllmseg_ros.msg import Transcript
from std_msgs.msg import UInt8MultiArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "ros"))

from ros_harness import Client, NodeProcess, new_domain  # noqa: E402
from speaking import speak  # noqa: E402

from mllmseg_ros.speech.audio import SAMPLE_RATE  # noqa: E402

FRAME = ROOT / "mllmseg_ros" / "assets" / "frames" / "frame_0.png"
COMMANDS = (
    "show me the red mug", "put the red cube on the plate", "the mug on the left",
    "can you see the orange ball", "go to the green vase", "bring me the black book",
)  # fmt: skip
ROUNDS = 3
CHUNK_S = 0.064
CAMERA_HZ = 10.0
GIVE_UP_S = 6.0


def measure_latency() -> None:
    """Print medians, in ms."""
    domain = new_domain()
    nodes = [
        NodeProcess(domain, "--ros-args", "-p", "device:=cpu"),
        NodeProcess(domain, executable="speech"),
    ]
    nodes[0].wait_for("listening on")
    nodes[1].wait_for("listening to audio")
    client = Client(domain)
    audio = client.node.create_publisher(UInt8MultiArray, "audio", 100)
    transcripts: list[tuple[float, Transcript]] = []
    client.node.create_subscription(
        Transcript, "transcript", lambda m: transcripts.append((time.monotonic(), m)), 10
    )
    rgb = cv2.cvtColor(cv2.imread(str(FRAME)), cv2.COLOR_BGR2RGB)
    client.wait(client.connected)
    client.wait(audio.get_subscription_count)
    rows = []
    try:
        for text in COMMANDS * ROUNDS:
            client.reset()
            transcripts.clear()
            row = _measure_once(client, audio, rgb, speak(text), transcripts)
            if row is None:
                print(f"no mask for {text!r}: {[m.reason for _, m in transcripts]}")
            else:
                rows.append(row)
    finally:
        client.close()
        for node in nodes:
            node.end()
    names = ("end of speech to command", "command to mask", "end of speech to mask")
    for name, values in zip(names, np.array(rows).T, strict=True):
        print(f"{name:28}median {np.median(values):6.0f} ms   max {values.max():6.0f} ms")
    print(f"n = {len(rows)}; of the first, 500 ms are the pause that ends a command")


def _measure_once(
    client: Client,
    audio: object,
    rgb: np.ndarray,
    speech: np.ndarray,
    transcripts: list[tuple[float, Transcript]],
) -> tuple[float, float, float] | None:
    """Speak one command; returns the three latencies in ms."""
    chunk = int(CHUNK_S * SAMPLE_RATE)
    last_loud = int(np.flatnonzero(np.abs(speech.astype(np.int32)) > 500)[-1])
    speech = np.concatenate([speech, np.zeros(SAMPLE_RATE * int(GIVE_UP_S), np.int16)])
    start_s = time.monotonic()
    ended_s = start_s + last_loud / SAMPLE_RATE
    due_image_s = start_s
    for at in range(0, len(speech) - chunk, chunk):
        due_s = (
            start_s + (at + chunk) / SAMPLE_RATE
        )  # time at which a microphone would have recorded it
        while time.monotonic() < due_s:
            if time.monotonic() >= due_image_s:
                client.send_image(rgb)
                due_image_s += 1 / CAMERA_HZ
            client.executor.spin_once(timeout_sec=0.002)
            if client.masks and transcripts:
                command_s, mask_s = transcripts[0][0], time.monotonic()
                return tuple(
                    1e3 * seconds
                    for seconds in (command_s - ended_s, mask_s - command_s, mask_s - ended_s)
                )  # type: ignore[return-value]
        audio.publish(UInt8MultiArray(data=speech[at : at + chunk].tobytes()))  # type: ignore[attr-defined]
    return None
