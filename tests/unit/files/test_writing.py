# SPDX-License-Identifier: Apache-2.0
"""What is written is whole and lies where it was asked for, whatever the folder holds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mllmseg_ros.files import FolderLock, open_journal, replaced_file, replaced_folder, write_file
from mllmseg_ros.files.writing import remove_stale_partials


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_new_and_replaced_file(tmp_path):
    path = tmp_path / "a"
    write_file(path, "ä")
    assert path.read_bytes() == "ä".encode()
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    path.chmod(0o640)
    write_file(path, b"b")
    assert path.read_bytes() == b"b"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == {"a"}


def test_symbolic_link_is_replaced_and_never_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a").symlink_to(victim)
    write_file(tmp_path / "a", "new")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_text() == "new"


def test_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="not a regular file"):
        write_file(tmp_path / "fifo", "x")
    with pytest.raises(ValueError, match="not a regular file"):
        write_file(tmp_path, "x")


def test_file_stays_when_the_new_one_fails(tmp_path):
    write_file(tmp_path / "a", "old")

    def fail() -> None:
        with replaced_file(tmp_path / "a") as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == {"a"}


def test_names_as_long_as_the_file_system_accepts(tmp_path):
    name = "ä" * 127  # 254 bytes
    write_file(tmp_path / name, "x")
    assert names(tmp_path) == {name}


def test_folder_appears_whole(tmp_path):
    with replaced_folder(tmp_path / "model") as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "a").write_text("x")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "sub" / "a").read_text() == "x"
    with pytest.raises(OSError, match="not empty"), replaced_folder(tmp_path / "model"):
        pass
    assert names(tmp_path) == {"model"}


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_leftovers_of_a_killed_process_are_removed_but_not_those_in_use(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / ".notes.partial").write_text("a file of somebody else")
    run(
        "import os; from pathlib import Path\n"
        "from mllmseg_ros.files import replaced_file, replaced_folder\n"
        f"a = replaced_file(Path({str(tmp_path)!r}) / 'a'); a.__enter__()\n"
        f"b = replaced_folder(Path({str(tmp_path)!r}) / 'b'); (b.__enter__() / 'x').touch()\n"
        "os._exit(9)"
    )
    assert len(names(tmp_path)) == 4
    link = tmp_path / f".c.{'0' * 16}.partial"
    link.symlink_to(tmp_path / "data")
    with replaced_file(tmp_path / "d") as mine:
        remove_stale_partials(tmp_path)
        assert mine.exists()
    assert names(tmp_path) == {"data", ".notes.partial", link.name, "d"}


def test_journal_drops_an_incomplete_line_and_appends(tmp_path):
    path = tmp_path / "journal"
    for before, kept in [(b"", b""), (b"x" * 100_000, b""), (b"a\n" + b"b" * 70_000, b"a\n")]:
        path.write_bytes(before)
        with open_journal(path) as journal:
            journal.write(b"c\n")
        assert path.read_bytes() == kept + b"c\n"


def test_journal_follows_no_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "journal").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    os.mkfifo(tmp_path / "fifo")
    for name in ("journal", "dangling", "fifo"):
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
            open_journal(tmp_path / name)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_second_process_is_told_who_holds_the_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mllmseg_ros.files import FolderLock\n"
        "sys.argv = ['/usr/bin/mllmseg', 'review', 'x']\n"
        f"FolderLock(Path({str(tmp_path)!r}))\n"
    )
    with FolderLock(tmp_path):
        refused = run(code)
    assert refused.returncode == 1
    assert f"is in use by '{Path(sys.argv[0]).name}" in refused.stderr
    assert f"(process {os.getpid()})" in refused.stderr
    assert run(code).returncode == 0  # and a process that has ended holds nothing


def test_lock_follows_no_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".mllmseg.lock").symlink_to(victim)
    with pytest.raises(ValueError, match="symbolic link"):
        FolderLock(tmp_path)
    assert victim.read_text() == "mine"
