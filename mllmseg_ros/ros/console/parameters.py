# SPDX-License-Identifier: Apache-2.0
"""The console's parameters; ``config/console.yaml`` mirrors them, and a test compares the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mllmseg_ros.ros.support.parameter_fields import parameter
from mllmseg_ros.web.guard import Access

__all__ = ["ConsoleParameters"]


@dataclass(frozen=True, kw_only=True)
class ConsoleParameters:
    """A snapshot of all parameters; none changes while the node runs."""

    address: str = parameter(
        "127.0.0.1",
        "IP address to serve the page at; any but this machine's own needs a token_file",
        read_only=True,
    )
    port: int = parameter(8642, "TCP port of the page; 0: any that is free", read_only=True)
    token_file: str = parameter(
        "",
        "file that holds the token that a page is opened with; a file, because everybody may read "
        "a parameter; empty: no token",
        read_only=True,
    )
    origins: str = parameter(
        "",
        "further addresses under which the page may be opened, such as a proxy's "
        "https://robot.example, with blanks between",
        read_only=True,
    )
    segmenter: str = parameter(
        "mllmseg", "name of the segmenter node, whose parameters and health are shown",
        read_only=True,
    )  # fmt: skip
    rate: float = parameter(
        15.0, "Hz, most pictures per second that a page gets", range_=(0.1, 60.0), read_only=True
    )

    def access(self) -> Access:
        """Who may see the page.

        Raises:
            ValueError: if that would be everybody, or a value is none.
        """
        return Access(
            address=self.address,
            port=self.port,
            token=_first_line(self.token_file) if self.token_file else "",
            origins=tuple(self.origins.split()),
        )


def _first_line(path: str) -> str:
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"token_file cannot be read: {error}") from None
    if not lines[0].strip():
        raise ValueError(f"token_file {path} has no token in its first line")
    return lines[0].strip()
