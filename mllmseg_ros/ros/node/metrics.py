# SPDX-License-Identifier: Apache-2.0
"""Metrics of the node: rates, ages and times over the last few seconds.

Filled by whatever thread does the work, read once a second for the diagnostics. Knows neither
messages nor models.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["CameraMetrics", "Metric", "ModelMetrics"]

WINDOW_S = 10.0
_CAPACITY = 2000  # 10 s at 200 Hz


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """Median and 95th percentile."""

    p50: float
    p95: float


class Metric:
    """The values of the last :data:`WINDOW_S` seconds. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: deque[tuple[float, float]] = deque(maxlen=_CAPACITY)  # monotonic s, value

    def add(self, value: float) -> None:
        """Note one value."""
        with self._lock:
            self._values.append((time.monotonic(), value))

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Note how many ms the with block takes, unless it fails."""
        began_ns = time.monotonic_ns()
        yield
        self.add((time.monotonic_ns() - began_ns) / 1e6)

    def values(self) -> list[float]:
        """The values in the window, oldest first."""
        since_s = time.monotonic() - WINDOW_S
        with self._lock:
            return [value for at_s, value in self._values if at_s >= since_s]

    def rate(self) -> float:
        """Values per second, Hz."""
        now_s = time.monotonic()
        with self._lock:
            times = [at_s for at_s, _ in self._values if at_s >= now_s - WINDOW_S]
        return len(times) / max(now_s - times[0], 1.0) if times else 0.0

    def quantiles(self) -> Quantiles | None:
        """Percentiles of the values in the window; None if there are none."""
        values = sorted(self.values())
        if not values:
            return None
        last = len(values) - 1
        return Quantiles(p50=values[round(0.5 * last)], p95=values[round(0.95 * last)])

    def mean(self) -> float | None:
        """Mean of the values in the window; None if there are none."""
        values = self.values()
        return sum(values) / len(values) if values else None


class CameraMetrics:
    """Metrics of one camera.

    Attributes:
        arrival_age: ms, now - stamp when an image comes: the camera's and the network's part.
        result_age: ms, now - stamp when a result goes out.
        convert: ms to turn an image message into an array.
        publish: ms to locate, build and send a result.
        no_target: 1 for each expression answered "not there", else 0.
    """

    def __init__(self) -> None:
        self.arrival_age, self.result_age = Metric(), Metric()
        self.convert, self.publish = Metric(), Metric()
        self.no_target = Metric()
        self._image_s: float | None = None  # monotonic
        self._result_s: float | None = None
        self._requested_s = 0.0

    def arrived(self, age_ns: int) -> None:
        """Note an image."""
        self._image_s = time.monotonic()
        self.arrival_age.add(age_ns / 1e6)

    def requested(self) -> None:
        """Note a command."""
        self._requested_s = time.monotonic()

    def published(self, age_ns: int, no_target: list[bool]) -> None:
        """Note a result: the age of its image, and for each expression whether it is not there."""
        self._result_s = time.monotonic()
        self.result_age.add(age_ns / 1e6)
        for each in no_target:
            self.no_target.add(float(each))

    @property
    def since_image_s(self) -> float | None:
        """Seconds since the newest image; None if there was none."""
        return None if self._image_s is None else time.monotonic() - self._image_s

    @property
    def since_result_s(self) -> float | None:
        """Seconds since the newest result; None if there was none."""
        return None if self._result_s is None else time.monotonic() - self._result_s

    @property
    def unanswered_s(self) -> float:
        """Seconds since the newest command or result, whichever is later."""
        return time.monotonic() - max(self._requested_s, self._result_s or 0.0)


class ModelMetrics:
    """Metrics of the model, and its last errors.

    Attributes:
        encode: ms per image, with the command's expressions, which are read in the same pass.
        segment: ms per further request on an encoded image.
        is_failing: whether the newest inference raised.
    """

    def __init__(self) -> None:
        self.encode, self.segment = Metric(), Metric()
        self.is_failing = False
        self._error: tuple[float, str] | None = None  # monotonic s, text
        self._crash: tuple[float, str] | None = None

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """Note the with block, also where it fails."""
        try:
            with self.encode.timing():
                yield
        except BaseException:
            self.is_failing = True
            raise

    @contextmanager
    def segmenting(self, *, encoded: bool = True) -> Iterator[None]:
        """Note the with block, also where it fails; a ValueError is caused by the expression.

        Args:
            encoded: False where the block encodes the image too.
        """
        try:
            with (self.segment if encoded else self.encode).timing():
                yield
        except ValueError:
            raise
        except BaseException:
            self.is_failing = True
            raise
        self.is_failing = False

    def failed(self, text: str) -> None:
        """Note an error, one line."""
        self._error = (time.monotonic(), text)

    def crashed(self, text: str) -> None:
        """Note that a thread or callback was interrupted, one line."""
        self._crash = (time.monotonic(), text)
        self.failed(text)

    @property
    def last_error(self) -> tuple[float, str] | None:
        """Seconds since the last error, and its text; None if there was none."""
        return _ago(self._error)

    @property
    def last_crash(self) -> tuple[float, str] | None:
        """Seconds since a thread or callback was interrupted, and the cause; None if never."""
        return _ago(self._crash)


def _ago(noted: tuple[float, str] | None) -> tuple[float, str] | None:
    return None if noted is None else (time.monotonic() - noted[0], noted[1])
