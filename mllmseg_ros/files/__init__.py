# SPDX-License-Identifier: Apache-2.0
"""Read files that somebody else wrote, and write files next to them."""

from mllmseg_ros.files.journal import open_journal
from mllmseg_ros.files.lock import FolderLock
from mllmseg_ros.files.reading import check_regular_file, open_file, read_bytes, read_text
from mllmseg_ros.files.structured_text import parse_json, parse_yaml, read_json, read_yaml
from mllmseg_ros.files.writing import replaced_file, replaced_folder, write_file

__all__ = [
    "FolderLock",
    "check_regular_file",
    "open_file",
    "open_journal",
    "parse_json",
    "parse_yaml",
    "read_bytes",
    "read_json",
    "read_text",
    "read_yaml",
    "replaced_file",
    "replaced_folder",
    "write_file",
]
