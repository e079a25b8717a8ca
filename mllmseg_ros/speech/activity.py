# SPDX-License-Identifier: Apache-2.0
"""Detect speech with Silero VAD, and find where utterances begin and end.

The network is the ONNX file of the PyPI package ``silero-vad``, run by onnxruntime without torch.

Source: https://github.com/snakers4/silero-vad (MIT), version 5 or later of the network.
"""

from __future__ import annotations

from collections import deque
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.speech.audio import SAMPLE_RATE, Samples, Utterance

__all__ = ["Endpointer", "SileroVad"]

WINDOW = 512  # samples, 32 ms; the network's input at 16 kHz
_CONTEXT = 64  # samples of the previous window
_INSTALL_HINT = "install requirements/speech.txt (pip install silero-vad onnxruntime)"


class SileroVad:
    """Probability of speech in each window of a stream."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            RuntimeError: A package is missing; says what to install.
        """
        spec = find_spec("silero_vad")
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeError(f"onnxruntime is missing: {_INSTALL_HINT}") from None
        if spec is None or spec.origin is None:
            raise RuntimeError(f"silero-vad is missing: {_INSTALL_HINT}")
        path = Path(spec.origin).parent / "data" / "silero_vad.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(SAMPLE_RATE, np.int64)
        self.reset()

    def reset(self) -> None:
        """Start a new stream."""
        self._state: NDArray[np.float32] = np.zeros((2, 1, 128), np.float32)
        self._context: NDArray[np.float32] = np.zeros(_CONTEXT, np.float32)

    def __call__(self, window: Samples) -> float:
        """Get the probability of speech in a window of WINDOW samples."""
        samples: NDArray[np.float32] = window.astype(np.float32) / np.float32(32768)
        network_input = np.concatenate([self._context, samples])[None]
        probability, self._state = self._session.run(
            None, {"input": network_input, "state": self._state, "sr": self._rate}
        )
        self._context = samples[-_CONTEXT:]
        return float(probability[0, 0])


class Endpointer:
    """Splits a stream into utterances. Times count from the first sample."""

    START = 0.5  # probability at which speech starts
    CONTINUE = 0.35  # probability above which it continues
    MIN_SPEECH_S = 0.2  # shorter sounds, such as clicks, are ignored
    MAX_UTTERANCE_S = 12.0  # longer speech, such as from a radio, is split
    BEFORE_S = 0.16  # audio kept before the speech
    AFTER_S = 0.1  # and after it; small recognisers take longer silence for words

    def __init__(self, vad: SileroVad, pause_s: float = 0.5) -> None:
        """Start a stream.

        Args:
            vad: network; is reset.
            pause_s: silence that ends an utterance; infinite if only :meth:`flush` ends it.
        """
        self._vad, self._pause_s = vad, pause_s
        self._n = 0  # samples processed
        self.reset()

    @property
    def fed_s(self) -> float:
        """Length of the audio fed so far."""
        return self._time_s + len(self._remainder) / SAMPLE_RATE

    @property
    def _time_s(self) -> float:
        return self._n / SAMPLE_RATE

    def reset(self) -> None:
        """Drop the current utterance and unprocessed samples; time goes on."""
        self._vad.reset()
        self._remainder = np.zeros(0, np.int16)
        windows = max(1, round(self.BEFORE_S * SAMPLE_RATE / WINDOW))
        self._before: deque[Samples] = deque(maxlen=windows)
        self._begin_utterance()

    def _begin_utterance(self) -> None:
        self._speech: list[Samples] = []
        self._start_s = self._end_s = 0.0
        self._n_speech = 0

    def feed(self, samples: Samples) -> list[Utterance]:
        """Process audio; returns the utterances that ended in it."""
        self._remainder = np.concatenate([self._remainder, samples])
        n_complete = len(self._remainder) // WINDOW * WINDOW
        windows, self._remainder = (
            self._remainder[:n_complete].reshape(-1, WINDOW),
            self._remainder[n_complete:],
        )
        utterances = (self._process_window(window) for window in windows)
        return [utterance for utterance in utterances if utterance is not None]

    def flush(self) -> list[Utterance]:
        """End the current utterance, if there is one."""
        utterances = self._end_utterance() if self._speech else None
        return [utterances] if utterances is not None else []

    def _process_window(self, window: Samples) -> Utterance | None:
        window_start_s = self._time_s
        self._n += WINDOW
        probability = self._vad(window)
        if not self._speech:
            if probability < self.START:
                self._before.append(window)
                return None
            self._start_s = window_start_s
            self._speech = [*self._before]
        self._speech.append(window)
        if probability >= self.CONTINUE:
            self._end_s = self._time_s
            self._n_speech += 1
        silent_s = self._time_s - self._end_s
        if silent_s < self._pause_s and self._time_s - self._start_s < self.MAX_UTTERANCE_S:
            return None
        return self._end_utterance()

    def _end_utterance(self) -> Utterance | None:
        samples = np.concatenate(self._speech)
        surplus = max(0, round((self._time_s - self._end_s - self.AFTER_S) * SAMPLE_RATE))
        utterance = Utterance(
            samples=samples[: len(samples) - surplus], start_s=self._start_s, end_s=self._end_s
        )
        long_enough = self._n_speech * WINDOW >= self.MIN_SPEECH_S * SAMPLE_RATE
        self._before.clear()
        self._begin_utterance()
        return utterance if long_enough else None
