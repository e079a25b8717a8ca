# SPDX-License-Identifier: Apache-2.0
"""Ports of shared memory that were replaced, with real mappings of real files."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from mllmseg_ros.ros.support.lost_ports import LostPorts


def map_port(folder: Path, name: str) -> tuple[Path, mmap.mmap]:
    """Map a file as Fast DDS maps a port."""
    path = folder / name
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("r+b") as file:
        return path, mmap.mmap(file.fileno(), mmap.PAGESIZE)


@pytest.mark.parametrize("name", ["fastrtps_port7415", "fastdds_port7415"])  # Fast DDS 2 and 3
def test_a_port_is_lost_once_it_has_been_replaced_for_ten_seconds(
    tmp_path: Path, name: str
) -> None:
    ports = LostPorts()
    path, mapping = map_port(tmp_path, name)
    with mapping:
        assert ports.find(0) == []
        assert ports.find(20) == []  # it is mapped, and not replaced
        path.unlink()
        assert ports.find(40) == []  # just now
        assert ports.find(45) == []
        assert ports.find(50) == [7415]
        assert ports.find(51) == [7415]
    assert ports.find(60) == []  # released


def test_other_files_are_no_ports(tmp_path: Path) -> None:
    ports = LostPorts()
    path, mapping = map_port(tmp_path, "fastrtps_port7415_el")
    with mapping:
        path.unlink()
        assert ports.find(0) == []
        assert ports.find(20) == []
