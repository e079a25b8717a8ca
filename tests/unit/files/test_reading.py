# SPDX-License-Identifier: Apache-2.0
"""Reading a name gives the content of the file, or one line that says what is wrong."""

import os
import socket
from pathlib import Path

import pytest

from mllmseg_ros.files import (
    open_file,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    read_yaml,
)
from mllmseg_ros.files.structured_text import MAX_DEPTH, parse_json, parse_yaml

pytestmark = pytest.mark.threat("F2")


def refusal(read, *arguments, **options) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def test_text_with_and_without_a_byte_order_mark(tmp_path):
    for content in (b"a\r\nb\xe2\x80\xa8c", b"\xef\xbb\xbfa\r\nb\xe2\x80\xa8c"):
        (tmp_path / "a").write_bytes(content)
        assert read_text(tmp_path / "a") == "a\r\nb\u2028c"


def test_special_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert "a FIFO" in refusal(open_file, tmp_path / "fifo")
    assert "a folder" in refusal(open_file, tmp_path)
    assert "a device" in refusal(open_file, Path("/dev/zero"))
    assert "No such file" in refusal(open_file, tmp_path / "none")
    assert "symbolic links" in refusal(open_file, tmp_path / "loop")
    assert "name too long" in refusal(open_file, tmp_path / ("x" * 5000))
    assert "null" in refusal(open_file, tmp_path / "a\0b")
    assert "Not a directory" in refusal(open_file, Path("/dev/null/x"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert "cannot be read" in refusal(open_file, tmp_path / "socket")


def test_size_is_checked_before_reading(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte that takes no space
    assert "accepted are up to 1000" in refusal(read_bytes, path, max_bytes=1000)
    assert "bytes" in refusal(read_text, path)
    assert "bytes" in refusal(read_json, path)


def test_endless_file_that_claims_to_be_empty_is_read_up_to_the_limit():
    # Files of /proc have size 0 and content.
    assert "accepted are up to 3" in refusal(read_bytes, Path("/proc/self/maps"), max_bytes=3)


def test_not_utf8(tmp_path):
    (tmp_path / "a").write_bytes(b"ab\xff")
    assert "not UTF-8 text (byte 2)" in refusal(read_text, tmp_path / "a")


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 100_000, 10_000_000])
def test_deep_json_is_refused_before_parsing(levels):
    assert "deeper than" in refusal(parse_json, nested(levels), "x")
    assert "deeper than" in refusal(parse_json, '{"a":' * levels, "x")


@pytest.mark.parametrize(
    "text",
    [
        nested(MAX_DEPTH),
        '"' + "[" * 1000 + '"',
        '["' + '\\"[' * 1000 + '"]',
        "[" + ",".join(['"]"', "[1]"] * 1000) + "]",
        '["\\\\", ' + ",".join(["{}"] * 1000) + "]",
        '["\\ud83d\\ude00"]',
    ],
)
def test_flat_json_with_many_brackets_is_accepted(text):
    import json

    assert parse_json(text, "x") == json.loads(text)


def test_brackets_in_strings_do_not_hide_depth():
    text = "[" + '"]",['.join([""] * 200)
    assert "deeper than" in refusal(parse_json, text, "x")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "1" * 5000, '{"a": "\\ud800"}', "\ud800", '["\ud800"]', "nul", "{'a': 1}"],
)
def test_bad_json_names_its_place(text):
    assert refusal(parse_json, text, "line 7").startswith("line 7: ")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000, "a: [", "!!python/object/apply:os.system ['x']", "a: *b", "? [1, 2]\n: x",
        "2024-99-99", "\0", "- " * 3000 + "x", "!!int x",
    ],
)  # fmt: skip
def test_bad_yaml_names_its_place(text):
    assert refusal(parse_yaml, text, "line 7").startswith("line 7: ")


def test_json_and_yaml_files(tmp_path):
    (tmp_path / "a").write_text('\ufeff{"a": [1, null]}', encoding="utf-8")
    assert read_json(tmp_path / "a") == read_yaml(tmp_path / "a") == {"a": [1, None]}
    (tmp_path / "a").write_text("{", encoding="utf-8")
    assert str(tmp_path / "a") in refusal(read_json, tmp_path / "a")


def test_each_line_is_read_on_its_own(tmp_path):
    good = '{"a": "x\u2028y\x85"}'.encode()
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf1\r\n\n" + good + b"\n{\n\xff\n[2")
    lines = read_json_lines(tmp_path / "a")
    assert [line.number for line in lines] == [1, 3, 4, 5, 6]
    assert lines[0].parse() == 1
    assert lines[1].data == good
    assert lines[1].parse() == {"a": "x\u2028y\x85"}
    assert "not valid JSON" in refusal(lines[2].parse)
    assert "not UTF-8" in refusal(lines[3].parse)
    assert "not valid JSON" in refusal(lines[4].parse)
    assert "accepted are up to 3" in refusal(read_json_lines, tmp_path / "a", max_bytes=3)
