# SPDX-License-Identifier: Apache-2.0
"""Electrical power during a measurement, from tegrastats or nvidia-smi.

``tegrastats`` reports the whole Jetson module, ``nvidia-smi`` the GPU alone.
Elsewhere power is not read. Neither program was there to run here: tests read lines in the format
that NVIDIA documents.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from types import TracebackType

__all__ = ["PowerMeter", "parse_nvidia_smi", "parse_tegrastats"]

_PERIOD_MS = 200
_END_S = 5.0
_RAIL = re.compile(r"\b(V[A-Z0-9_]+) (\d+)mW/\d+mW")
_MODULE = "VDD_IN"  # of the Orin NX and Nano: all of the module; others have only its parts


class PowerMeter:
    """Measures power inside a ``with`` block.

    Attributes:
        source: the program that says it; "" where there is none.
        mean_w: W, mean over the block; None where it was not read.
    """

    def __init__(self, gpu: int | None) -> None:
        """Choose a program.

        Args:
            gpu: index of the CUDA device in use; None for a CPU, whose power is not read except
                on a Jetson.
        """
        self.source = ""
        self.mean_w: float | None = None
        self._command: Sequence[str] = ()
        if shutil.which("tegrastats"):
            self.source = "tegrastats"
            self._command = ("tegrastats", "--interval", str(_PERIOD_MS))
        elif gpu is not None and shutil.which("nvidia-smi"):
            self.source = "nvidia-smi"
            query = ("--query-gpu=power.draw", "--format=csv,noheader,nounits")
            self._command = ("nvidia-smi", f"--id={gpu}", *query, f"--loop-ms={_PERIOD_MS}")
        self._program: subprocess.Popen[str] | None = None

    def __enter__(self) -> PowerMeter:
        if self._command:
            self._program = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._program is None:
            return
        self._program.terminate()
        try:
            lines = self._program.communicate(timeout=_END_S)[0].splitlines()
        except subprocess.TimeoutExpired:
            self._program.kill()
            lines = self._program.communicate()[0].splitlines()
        parse = parse_tegrastats if self.source == "tegrastats" else parse_nvidia_smi
        watts = [power for line in lines if (power := parse(line)) is not None]
        self.mean_w = statistics.fmean(watts) if watts else None


def parse_tegrastats(line: str) -> float | None:
    """Read the power in W from a line of tegrastats; None if it has none.

    ``VDD_IN`` where there is one, else the sum of the rails (``VDD_GPU_SOC``, ``VDD_CPU_CV``,
    ``VIN_SYS_5V0`` on the AGX Orin).
    """
    rails = {name: int(milliwatts) for name, milliwatts in _RAIL.findall(line)}
    if not rails:
        return None
    return rails.get(_MODULE, sum(rails.values())) / 1e3


def parse_nvidia_smi(line: str) -> float | None:
    """Read the power in W from a line of nvidia-smi; None if the GPU does not say it."""
    try:
        return float(line)
    except ValueError:  # [N/A]
        return None
