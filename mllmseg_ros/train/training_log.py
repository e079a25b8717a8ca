# SPDX-License-Identifier: Apache-2.0
"""The log of a training: ``log.jsonl``, and ``tensorboard/`` where TensorBoard is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmseg_ros.files import make_folder, open_journal

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TrainingLog"]


class TrainingLog:
    """Appends to the log of a run folder."""

    def __init__(self, run: Path, *, enabled: bool = True) -> None:
        """Set up; nothing is written yet.

        Args:
            run: the run's folder.
            enabled: False for all processes but one, where several train together.
        """
        self._enabled = enabled
        self._path, self._board_folder = run / "log.jsonl", run / "tensorboard"
        self._board: SummaryWriter | None = None

    @contextmanager
    def tensorboard(self, first_step: int) -> Iterator[None]:
        """Keep TensorBoard's file open; a resumed run replaces what it has from a step on."""
        if self._enabled and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            make_folder(self._board_folder)
            self._board = SummaryWriter(str(self._board_folder), purge_step=first_step)
        try:
            yield
        finally:
            if self._board is not None:
                self._board.close()
                self._board = None

    def write(self, fields: Mapping[str, Any], step: int | None = None) -> None:
        """Append a line to ``log.jsonl``.

        Args:
            fields: of the line.
            step: at which TensorBoard shows the line's numbers; None leaves them out.
        """
        if not self._enabled:
            return
        with open_journal(self._path) as file:
            file.write(json.dumps(fields).encode() + b"\n")
        if self._board is not None and step is not None:
            for name, value in _numbers(fields):
                self._board.add_scalar(name, value, step)


def _numbers(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield names and values of the numbers, nested ones as ``outer/inner``; no steps."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and name != "step":
            yield prefix + name, value
