# SPDX-License-Identifier: Apache-2.0
"""The console's parameters. ``make parameters`` writes ``config/console.yaml`` from this file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.support.parameter_fields import parameter
from mllmseg_ros.web.guard import Access, read_token

__all__ = ["ConsoleParameters"]


@dataclass(frozen=True, kw_only=True)
class ConsoleParameters:
    """A snapshot of all parameters. All are read at start."""

    address: str = parameter(
        "127.0.0.1",
        "IP address to serve the page on. If other machines can reach it, a token_file is needed.",
        read_only=True,
    )
    port: int = parameter(8642, "TCP port of the page; 0: any free port.", read_only=True)
    token_file: str = parameter(
        "",
        "File with the token that is needed to open the page; empty: no token. It is a file "
        "because everybody can read a parameter; docs/console.md shows how to make one.",
        read_only=True,
    )
    origins: str = parameter(
        "",
        "Further addresses under which the page may be opened, separated by blanks, such as a "
        "proxy's https://robot.example.",
        read_only=True,
    )
    segmenter: str = parameter(
        "mllmseg", "Name of the segmenter node whose parameters and diagnostics are shown.",
        read_only=True,
    )  # fmt: skip
    rate: float = parameter(
        15.0,
        "Maximum number of images per second that a page gets.",
        range_=(0.1, 60.0),
        read_only=True,
    )

    def access(self) -> Access:
        """Build the access rules of the page.

        Raises:
            ValueError: if everybody could open the page, or a value is invalid.
        """
        return Access(
            address=self.address,
            port=self.port,
            token=_read_token(self.token_file) if self.token_file else "",
            origins=tuple(self.origins.split()),
        )


def _read_token(path: str) -> str:
    try:
        return read_token(Path(path).expanduser())
    except (ValueError, RuntimeError) as error:  # RuntimeError: "~" of a user who does not exist
        raise ValueError(f"parameter token_file: {one_line(error, with_type=False)}") from None
