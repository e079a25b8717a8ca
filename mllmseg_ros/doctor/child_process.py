# SPDX-License-Identifier: Apache-2.0
"""Run a line of Python in a child process, to isolate crashes."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["run_child"]


def run_child(code: str, timeout_s: float) -> tuple[str, str]:
    """Run a line of Python in a child process; returns the error and the last line printed."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error), ""
    if child.returncode < 0:
        return f"it crashed with signal {-child.returncode} (built for another NumPy?)", ""
    if child.returncode > 0:
        return (child.stderr.strip().splitlines() or ["no message"])[-1], ""
    return "", (child.stdout.strip().splitlines() or [""])[-1]
