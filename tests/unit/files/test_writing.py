# SPDX-License-Identifier: Apache-2.0
"""Written files are complete and in the right place, whatever the folder contains."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mllmseg_ros.files import (
    FolderLock,
    check_no_link,
    make_folder,
    move,
    open_journal,
    open_own_file,
    remove_stale_partials,
    replaced_file,
    replaced_folder,
    temporary_folder,
    write_file,
)

pytestmark = pytest.mark.threat("F4", "F5", "F6")


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
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "folder").symlink_to(tmp_path)
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "null", tmp_path / "folder"):
        with pytest.raises(ValueError, match="not a regular file"):
            write_file(path, "x")


def test_error_names_the_file_that_was_asked_for(tmp_path):
    for write in (replaced_file, temporary_folder):
        with pytest.raises(FileNotFoundError) as caught, write(tmp_path / "no" / "a"):
            pass
        assert caught.value.filename == str(tmp_path / "no" / "a")


def test_library_may_put_another_file_in_place_of_the_new_one(tmp_path):
    """As safetensors does: a file that its owner alone may read."""
    path = tmp_path / "a"
    for mode in (None, 0o604):
        if mode is not None:
            path.chmod(mode)
        with replaced_file(path) as partial:
            (tmp_path / "other").write_text("x")
            (tmp_path / "other").chmod(0o600)
            (tmp_path / "other").replace(partial)
        umask = os.umask(0)
        os.umask(umask)
        assert path.stat().st_mode & 0o777 == (0o666 & ~umask if mode is None else mode)
        assert names(tmp_path) == {"a"}


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


def test_link_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    for name in ("link", "dangling"):
        with pytest.raises(ValueError, match=f"{name} is a symbolic link, accepted is a folder"):
            make_folder(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} is a symbolic link, accepted is a folder"):
            replaced_folder(tmp_path / name).__enter__()
        with pytest.raises(ValueError, match=f"{name} is a symbolic link, accepted is a regular"):
            check_no_link(tmp_path / name)
    assert names(tmp_path) == {"home", "link", "dangling"}
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    check_no_link(tmp_path / "a")


def test_only_what_is_moved_out_of_a_temporary_folder_stays(tmp_path):
    (tmp_path / "b").symlink_to("/etc/passwd")

    def fill() -> None:
        with temporary_folder(tmp_path / "x") as folder:
            for name in ("a", "b"):
                (folder / name).write_text(name)
                (folder / f"{name}_folder").mkdir()
                (folder / f"{name}_folder" / "c").write_text(name)
            move(folder / "b", tmp_path / "b")
            move(folder / "b_folder", tmp_path / "d")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill()
    assert names(tmp_path) == {"b", "d"}
    assert not (tmp_path / "b").is_symlink()
    assert (tmp_path / "d" / "c").read_text() == "b"


def test_own_file_is_continued_and_is_not_a_link(tmp_path):
    for content in (b"a", b"b"):
        descriptor = open_own_file(tmp_path / "a", os.O_WRONLY | os.O_APPEND)
        assert os.write(descriptor, content) == 1
        os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == b"ab"
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="symbolic link"):
        open_own_file(tmp_path / "link", os.O_WRONLY)
    with pytest.raises(ValueError, match="not a regular file"):
        open_own_file(tmp_path / "fifo", os.O_WRONLY)


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


def test_the_second_process_gets_an_error_that_names_the_first(tmp_path):
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


def test_lock_leaves_nothing_and_goes_with_its_folder(tmp_path):
    (tmp_path / "a").mkdir()
    lock = FolderLock(tmp_path / "a")
    with pytest.raises(ValueError, match=rf"is in use by .* \(process {os.getpid()}\)"):
        FolderLock(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(ValueError, match="is in use by"):
        FolderLock(tmp_path / "b")
    lock.close()
    lock.close()
    assert names(tmp_path / "b") == set()
    with FolderLock(tmp_path / "b"):
        pass
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "a")


def test_one_process_at_a_time_holds_a_folder(tmp_path):
    (tmp_path / "data").mkdir()
    code = (
        "import os; from pathlib import Path; from mllmseg_ros.files import FolderLock\n"
        f"folder = Path({str(tmp_path)!r}); n = 0\n"
        "for _ in range(3000):\n"
        "    try: lock = FolderLock(folder / 'data')\n"
        "    except ValueError: continue\n"
        "    os.close(os.open(folder / 'inside', os.O_CREAT | os.O_EXCL))\n"
        "    os.unlink(folder / 'inside'); lock.close(); n += 1\n"
        "print(n)\n"
    )
    command = [sys.executable, "-c", code]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert int(out) > 0
    assert names(tmp_path) == {"data"}


def test_lock_follows_no_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".mllmseg.lock").symlink_to(victim)
    with pytest.raises(ValueError, match="symbolic link"):
        FolderLock(tmp_path)
    assert victim.read_text() == "mine"
