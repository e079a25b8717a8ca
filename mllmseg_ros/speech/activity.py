# SPDX-License-Identifier: Apache-2.0
"""When somebody speaks: voice activity by Silero VAD, and where an utterance begins and ends.

The network is the ONNX file of the PyPI package ``silero-vad``, run by onnxruntime; torch is not
imported.

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

WINDOW = 512  # samples, 32 ms; what the network takes at 16 kHz
_CONTEXT = 64  # samples of the window before
_INSTALL = "install requirements/speech.txt (pip install silero-vad onnxruntime)"


class SileroVad:
    """Probability of speech in each window of a stream."""

    def __init__(self) -> None:
        """Load the network.

        Raises:
            RuntimeError: saying what to install.
        """
        found = find_spec("silero_vad")
        try:
            import onnxruntime
        except ImportError:
            raise RuntimeError(f"onnxruntime is missing: {_INSTALL}") from None
        if found is None or found.origin is None:
            raise RuntimeError(f"silero-vad is missing: {_INSTALL}")
        path = Path(found.origin).parent / "data" / "silero_vad.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._rate = np.array(SAMPLE_RATE, np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._state: NDArray[np.float32] = np.zeros((2, 1, 128), np.float32)
        self._context: NDArray[np.float32] = np.zeros(_CONTEXT, np.float32)

    def __call__(self, window: Samples) -> float:
        """Probability that somebody speaks in a window of WINDOW samples."""
        samples: NDArray[np.float32] = window.astype(np.float32) / np.float32(32768)
        fed = np.concatenate([self._context, samples])[None]
        probability, self._state = self._session.run(
            None, {"input": fed, "state": self._state, "sr": self._rate}
        )
        self._context = samples[-_CONTEXT:]
        return float(probability[0, 0])


class Endpointer:
    """Cuts a stream into utterances; times are those of the samples fed, from 0 s."""

    START = 0.5  # probability from which on somebody speaks
    GO_ON = 0.35  # from which on somebody still does
    LEAST_S = 0.2  # of speech: a click is no word
    MOST_S = 12.0  # of one utterance; nobody commands that long, a radio speaks on
    BEFORE_S = 0.16  # of audio kept before the speech,
    AFTER_S = 0.1  # and after it; more silence is taken for words by small recognisers

    def __init__(self, vad: SileroVad, pause_s: float = 0.5) -> None:
        """Listen from now on.

        Args:
            vad: reset by this.
            pause_s: how long nobody has to speak for the utterance to be over; infinite where
                something else says so, by :meth:`flush`.
        """
        self._vad, self._pause_s = vad, pause_s
        self._n = 0  # samples taken, the waiting ones not counted
        self.reset()

    @property
    def fed_s(self) -> float:
        """How much audio was fed."""
        return self._time_s + len(self._waiting) / SAMPLE_RATE

    @property
    def _time_s(self) -> float:
        return self._n / SAMPLE_RATE

    def reset(self) -> None:
        """Forget what was begun and what waits; the time goes on."""
        self._vad.reset()
        self._waiting = np.zeros(0, np.int16)
        windows = max(1, round(self.BEFORE_S * SAMPLE_RATE / WINDOW))
        self._before: deque[Samples] = deque(maxlen=windows)
        self._begin()

    def _begin(self) -> None:
        self._spoken: list[Samples] = []
        self._start_s = self._end_s = 0.0
        self._n_speech = 0

    def feed(self, samples: Samples) -> list[Utterance]:
        """Take audio; returns the utterances that ended in it."""
        self._waiting = np.concatenate([self._waiting, samples])
        whole = len(self._waiting) // WINDOW * WINDOW
        windows, self._waiting = self._waiting[:whole].reshape(-1, WINDOW), self._waiting[whole:]
        ended = (self._take(window) for window in windows)
        return [utterance for utterance in ended if utterance is not None]

    def flush(self) -> list[Utterance]:
        """End the utterance that was begun, if there is one."""
        ended = self._ended() if self._spoken else None
        return [ended] if ended is not None else []

    def _take(self, window: Samples) -> Utterance | None:
        began_s = self._time_s
        self._n += WINDOW
        probability = self._vad(window)
        if not self._spoken:
            if probability < self.START:
                self._before.append(window)
                return None
            self._start_s = began_s
            self._spoken = [*self._before]
        self._spoken.append(window)
        if probability >= self.GO_ON:
            self._end_s = self._time_s
            self._n_speech += 1
        silent_s = self._time_s - self._end_s
        if silent_s < self._pause_s and self._time_s - self._start_s < self.MOST_S:
            return None
        return self._ended()

    def _ended(self) -> Utterance | None:
        samples = np.concatenate(self._spoken)
        surplus = max(0, round((self._time_s - self._end_s - self.AFTER_S) * SAMPLE_RATE))
        utterance = Utterance(
            samples=samples[: len(samples) - surplus], start_s=self._start_s, end_s=self._end_s
        )
        long_enough = self._n_speech * WINDOW >= self.LEAST_S * SAMPLE_RATE
        self._before.clear()
        self._begin()
        return utterance if long_enough else None
