# SPDX-License-Identifier: Apache-2.0
"""Read untrusted files safely, and write files next to them."""

from mllmseg_ros.files.clearing import clear_folder
from mllmseg_ros.files.journal import open_journal
from mllmseg_ros.files.lock import LOCK_FILE, FolderLock
from mllmseg_ros.files.reading import (
    check_regular_file,
    is_missing,
    open_file,
    read_bytes,
    read_text,
    show,
)
from mllmseg_ros.files.structured_text import (
    JsonLine,
    parse_json,
    parse_json_lines,
    parse_yaml,
    read_json,
    read_json_lines,
    read_yaml,
)
from mllmseg_ros.files.writing import (
    check_no_link,
    make_folder,
    move,
    open_own_file,
    remove_stale_partials,
    replaced_file,
    replaced_folder,
    temporary_folder,
    write_file,
)

__all__ = [
    "LOCK_FILE",
    "FolderLock",
    "JsonLine",
    "check_no_link",
    "check_regular_file",
    "clear_folder",
    "is_missing",
    "make_folder",
    "move",
    "open_file",
    "open_journal",
    "open_own_file",
    "parse_json",
    "parse_json_lines",
    "parse_yaml",
    "read_bytes",
    "read_json",
    "read_json_lines",
    "read_text",
    "read_yaml",
    "remove_stale_partials",
    "replaced_file",
    "replaced_folder",
    "show",
    "temporary_folder",
    "write_file",
]
