# SPDX-License-Identifier: Apache-2.0
"""Bags that are too large or damaged: one line, exit status 1, and little memory."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import lz4.frame
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs requirements/recordings.txt")
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "recording"))

from backports import zstd
from recordings import write_bag

from mllmseg_ros.cli import main
from mllmseg_ros.recording.source import open_source

pytestmark = pytest.mark.threat("F2", "F3")

ROOT = Path(__file__).parents[2]
MAGIC = b"\x89MCAP0\r\n"
MB = 1 << 20


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def text(content: str) -> bytes:
    return struct.pack("<I", len(content)) + content.encode()


def mcap(*chunks: tuple[str, bytes, int]) -> bytes:
    """An mcap without index, of chunks with compression, data and stated size."""
    records = [record(1, text("ros2") + text("test"))]
    for compression, data, size in chunks:
        head = struct.pack("<QQQI", 0, 1 << 62, size, 0)
        records.append(record(6, head + text(compression) + struct.pack("<Q", len(data)) + data))
    end = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC
    return MAGIC + b"".join(records) + end


def one_zstd_frame(n_mb: int) -> bytes:
    compressor = zstd.ZstdCompressor()
    return b"".join(compressor.compress(bytes(MB)) for _ in range(n_mb)) + compressor.flush()


def one_lz4_frame(n_mb: int) -> bytes:
    compressor = lz4.frame.LZ4FrameCompressor()
    pieces = [compressor.begin()] + [compressor.compress(bytes(MB)) for _ in range(n_mb)]
    return b"".join([*pieces, compressor.flush()])


def many_records(n: int) -> bytes:
    return record(5, bytes(22)) * n


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `mllmseg annotate` says about it."""
    out = path.parent / "out"
    assert main(["annotate", str(path), "the red mug", "-o", str(out), "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line and "images" not in line]
    assert len(lines) == 1, err
    return lines[0]


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (("zstd", one_zstd_frame(4096), 1000), "compressed data of more than 1000 bytes"),
        (("zstd", one_zstd_frame(4096), 4096 * MB), "a chunk of 4294967296 bytes, accepted are"),
        (("lz4", one_lz4_frame(1024), 1000), "compressed data of more than 1000 bytes"),
        (("lz4", b"\x04\x22\x4d\x18" + bytes(40), 1000), "LZ4F"),
        (("lz4", b"no lz4 data at all", 1000), "not a complete ROS 2 bag ("),
        (("zstd", b"no zstd data at all", 1000), "not a complete ROS 2 bag ("),
        (("zstd", one_zstd_frame(1)[:-3], MB), "truncated"),
        (("", bytes(100), 200), "a chunk has 100 bytes, 200 are stated"),
        (("", b"\x05\xff\xff\xff\xff\xff\xff\xff\x7f", 9), "beyond its chunk"),
        (("brotli", bytes(10), 10), "chunk compression 'brotli'"),
        (("zstd", zstd.compress(many_records(2 * MB)), 31 * 2 * MB), "more than 1048576 records"),
    ],
)
def test_chunks_that_grow_or_are_damaged(
    tmp_path: Path, chunk: tuple[str, bytes, int], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap(chunk))
    assert len(chunk[1]) < 6 * MB
    assert reason in refusal(path, capsys)


def test_a_chunk_of_gigabytes_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap(("zstd", one_zstd_frame(4096), 4096 * MB)))
    assert path.stat().st_size < 1 * MB
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from mllmseg_ros.recording.source import open_source\n"
        "import mllmseg_ros.recording.bag\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    open_source(Path(sys.argv[1]))\n"
        "except ValueError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 600_000  # kB


def test_chunks_that_overlap_in_time_are_not_all_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Readers merge chunks by time, so all that overlap are in memory at once."""
    data = one_zstd_frame(200)
    head = MAGIC + record(1, text("ros2") + text("test"))
    chunk = record(
        6,
        struct.pack("<QQQI", 0, 9, 200 * MB, 0)
        + text("zstd")
        + struct.pack("<Q", len(data))
        + data,
    )
    begin = len(head) + 6 * len(chunk)
    index = b"".join(
        record(
            8,
            struct.pack("<QQQQ", 0, 9, len(head) + number * len(chunk), len(chunk))
            + struct.pack("<IQ", 0, 0)
            + text("zstd")
            + struct.pack("<QQ", len(data), 200 * MB),
        )
        for number in range(6)
    )
    end = record(15, bytes(4))
    footer = record(2, struct.pack("<QQI", begin + len(end), 0, 0)) + MAGIC
    path = tmp_path / "a.mcap"
    path.write_bytes(head + chunk * 6 + end + index + footer)
    assert "overlap in time" in refusal(path, capsys)


def database(path: Path, sql: str) -> Path:
    rgb = np.zeros((12, 16, 3), np.uint8)
    folder = write_bag(path, [rgb] * 2, storage="sqlite3")
    (file,) = folder.glob("*.db3")
    connection = sqlite3.connect(file)
    connection.executescript(sql)
    connection.commit()
    connection.close()
    return file


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("UPDATE messages SET timestamp = 'yesterday'", "a time is 'yesterday', expected a number"),
        ("UPDATE topics SET name = CAST(name AS BLOB)", "expected text"),
        ("UPDATE topics SET type = x'00ff' WHERE id = 1", "expected text"),
        ("UPDATE messages SET timestamp = 0.5 WHERE id = 1", "a time is '0.5', expected a number"),
        (
            "DROP TABLE messages; CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, "
            "timestamp INTEGER, data BLOB AS (zeroblob(900000000)))",
            "table 'messages' of its database has a computed column",
        ),
        (
            "DROP TABLE schema; CREATE VIEW schema AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL "
            "SELECT x FROM n) SELECT max(x) AS schema_version FROM n",
            "its database has a view 'schema', expected plain tables",
        ),
        (
            "CREATE VIRTUAL TABLE other USING fts5(x)",
            "its database has a table 'other', expected plain tables",
        ),
    ],
)
def test_databases_that_compute_or_hold_text_for_times(
    tmp_path: Path, sql: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = database(tmp_path / "bag", sql)
    assert reason in refusal(file, capsys)
    assert reason in refusal(file.parent, capsys)


@pytest.mark.parametrize("change", ["data = 'text'", "data = 3"])
def test_messages_after_one_without_bytes_are_not_used(
    tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = "(SELECT max(messages.id) FROM messages JOIN topics ON topic_id = topics.id WHERE name"
    sql = f"UPDATE messages SET {change} WHERE id = {last} LIKE '%image_raw')"
    source = open_source(database(tmp_path / "bag", sql))
    for _ in range(2):
        assert len(list(source.images(1))) == 1
    err = capsys.readouterr().err
    assert "without time or bytes); using the messages before" in err
    assert err.count("\n") == 1


def test_compressed_storage_files_do_not_fill_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "bag"
    write_bag(bag, [np.zeros((12, 16, 3), np.uint8)], storage="sqlite3")
    (file,) = bag.glob("*.db3")
    file.with_name(f"{file.name}.zstd").write_bytes(one_zstd_frame(600))
    file.unlink()
    metadata = bag / "metadata.yaml"
    lines = metadata.read_text(encoding="utf-8").replace(file.name, f"{file.name}.zstd")
    lines = lines.replace("compression_format: ''", "compression_format: zstd")
    metadata.write_text(
        lines.replace("compression_mode: ''", "compression_mode: FILE"), encoding="utf-8"
    )
    assert "a storage file grows by more than 100 times" in refusal(bag, capsys)


@pytest.mark.parametrize("name", ["a.db3.zstd", "a.mcap.zst"])
def test_compressed_files_alone_do_not_fill_the_disk(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(one_zstd_frame(600))
    assert "a storage file grows by more than 100 times" in refusal(path, capsys)
    path.write_bytes(one_zstd_frame(1)[:8] + b"no zstd data at all" * 10)
    assert "cannot be decompressed" in refusal(path, capsys)


def test_messages_that_grow_are_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = database(tmp_path / "bag", "")
    bomb = one_zstd_frame(4096)
    with sqlite3.connect(file) as connection:
        last = "(SELECT max(messages.id) FROM messages JOIN topics ON topic_id = topics.id"
        query = f"UPDATE messages SET data = ? WHERE id = {last} WHERE name LIKE '%image_raw')"
        connection.execute(query, (bomb,))
    connection.close()
    assert len(list(open_source(file).images(1))) == 1
    assert "compressed data of more than 268435456 bytes" in capsys.readouterr().err


def test_a_log_is_merged_only_into_a_database_that_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = database(tmp_path / "bag", "")
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE VIEW other AS SELECT 1")
    connection.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for each in file.parent.glob("*.db3*"):
        (killed / each.name).write_bytes(each.read_bytes())
    connection.close()
    assert "its database has a view 'other'" in refusal(killed, capsys)
    log = killed / f"{file.name}-wal"
    log.write_bytes(b"no log at all" * 1000)
    assert len(list(open_source(killed).images(1))) == 2


def test_files_that_never_end_are_not_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / "bag", [np.zeros((12, 16, 3), np.uint8)])
    (file,) = bag.glob("*.mcap")
    file.unlink()
    os.mkfifo(file)
    assert "a FIFO" in refusal(bag, capsys)
    assert "a FIFO" in refusal(file, capsys)
    file.unlink()
    file.symlink_to("/dev/zero")
    assert "a device" in refusal(bag, capsys)
    for name in ("a.mp4", "a.avi"):
        video = tmp_path / name
        os.mkfifo(video)
        assert "a FIFO" in refusal(video, capsys)
        video.unlink()
        video.write_text("#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/hostname\n")
        assert "not a video; accepted: MP4" in refusal(video, capsys)


def test_metadata_has_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag", [np.zeros((12, 16, 3), np.uint8)], storage="sqlite3")
    (bag / "metadata.yaml").write_bytes(b"[" * (5 << 20))
    assert "metadata.yaml has 5242880 bytes or more" in refusal(bag, capsys)
    (bag / "metadata.yaml").write_bytes(b"[" * 100_000)
    assert len(list(open_source(bag).images(1))) == 1  # the storage file says the same
    assert "metadata.yaml is not complete" in capsys.readouterr().err


def test_the_database_that_is_checked_is_the_one_that_is_read(tmp_path: Path) -> None:
    file = database(tmp_path / "bag", "")
    other = file.with_name("b%61g.db3")  # as a URI, bag.db3
    file.rename(other)
    file.write_bytes(b"another file")
    assert len(list(open_source(other).images(1))) == 2
