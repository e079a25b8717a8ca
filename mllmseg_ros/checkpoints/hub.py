# SPDX-License-Identifier: Apache-2.0
"""Find checkpoints by name on this machine, and download published ones.

Only :func:`download` (``mllmseg models download``) downloads anything: a node without network finds
its checkpoint or says what is missing. An interrupted download is resumed, and its checksums are
compared with the hub's before the folder gets its final name. Imports no torch.

Files are not fetched by huggingface_hub's ``snapshot_download``: it deletes incomplete files when a
download is interrupted (so that 16 GB would start again), does not verify checksums, and waits for
a server, or takes what it sends, without a limit.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import (
    FolderLock,
    is_missing,
    make_folder,
    move,
    open_own_file,
    parse_json,
    read_bytes,
)

__all__ = ["PUBLISHED", "checkpoint_name", "download", "find_checkpoint"]

EMBEDDED = Path(__file__).parents[1] / "assets" / "tabletop"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A checkpoint of the paper's authors."""

    repository: str  # owner/name on huggingface.co
    n_values: float  # approximate number of weights, from InternVL2.5's model card, plus decoder

    @property
    def name(self) -> str:
        """Name without the owner."""
        return checkpoint_name(self.repository)

    def n_bytes(self, bytes_per_value: int = 2) -> float:
        """Return the memory for the weights; 2 bytes per value in bfloat16, 4 in float32."""
        return self.n_values * bytes_per_value


# Ordered by size, the smallest first.
PUBLISHED = tuple(
    PublishedModel(repository=f"jcwang0602/MLLMSeg_InternVL2_5_{name}", n_values=n_values)
    for name, n_values in (
        ("1B_RES", 0.97e9),
        ("2B_RES", 2.24e9),
        ("4B_RES", 3.74e9),
        ("8B_RES", 8.11e9),
        ("8B_GRES", 8.11e9),
    )
)

_MAX_NAME_CHARS = 1024

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_WEIGHT_FILES = (_WEIGHTS[0], _PICKLES[0])
_OTHERS = ("*.json", "*.txt", "tokenizer.model")


def find_checkpoint(path_or_name: str | Path | None) -> Path:
    """Find the folder of a checkpoint on this machine, without downloading.

    Args:
        path_or_name: a local folder; or the name of a published checkpoint, or ``owner/name`` on
            Hugging Face, that was downloaded by ``mllmseg models download`` or Hugging Face's own
            tools; None is the embedded model.

    Raises:
        ValueError: if it is not there, with the command to download it.
    """
    if path_or_name is None:
        return EMBEDDED
    name = str(path_or_name)
    if len(name) > _MAX_NAME_CHARS:
        raise ValueError(
            f"the name of a checkpoint has {len(name)} characters, accepted are up to "
            f"{_MAX_NAME_CHARS}"
        )
    try:
        name.encode()  # an unpaired surrogate could not even be shown
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder
    except (OSError, RuntimeError, ValueError) as error:  # "~nobody", a null character
        raise ValueError(f"no checkpoint folder {name!r}: {_reason(error)}") from error
    try:
        repository = resolve_repository(name)
    except ValueError as error:
        raise ValueError(
            f"no checkpoint folder {name!r}; accepted are a local folder with config.json and "
            "model.safetensors, or a Hugging Face repository name owner/name"
        ) from error
    downloaded = _find_downloaded(repository)
    if downloaded is None:
        raise ValueError(
            f"{name!r} is not a local folder and was not downloaded to this machine; download it "
            f"once: mllmseg models download {repository}"
        )
    return downloaded


def checkpoint_name(path_or_name: str | Path | None) -> str:
    """Return the name of a checkpoint as the user gave it, links not resolved.

    Returns:
        The last part of the path or repository name; "" for the embedded model and for ``.``.
    """
    return "" if path_or_name is None else Path(path_or_name).name


def resolve_repository(name: str) -> str:
    """Resolve the name of a checkpoint to ``owner/name``.

    Raises:
        ValueError: if it is neither ``owner/name`` nor the name of a published checkpoint.
    """
    for model in PUBLISHED:
        if name in (model.name, model.repository):
            return model.repository
    parts = name.split("/")
    if len(parts) != 2 or not all(parts) or any(part[0] in ".~" for part in parts):
        known = ", ".join(model.name for model in PUBLISHED)
        raise ValueError(f"{name!r} is not a model name; accepted: owner/name, or one of {known}")
    return name


def download_folder(repository: str) -> Path:
    """Return the default folder for the download of a repository."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "mllmseg" / "models" / repository


def _find_downloaded(repository: str) -> Path | None:
    folder = download_folder(repository)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:  # the cache of Hugging Face's own tools
        return Path(snapshot_download(repository, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return None


def is_downloaded(model: PublishedModel) -> bool:
    """Return whether a published checkpoint is on this machine."""
    return _find_downloaded(model.repository) is not None


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def find_smaller_model(n_values: float) -> str:
    """Return the largest published checkpoint that is clearly smaller; "" if there is none."""
    names = [model.name for model in PUBLISHED if model.n_values < 0.9 * n_values]
    return names[-1] if names else ""


# Download

MAX_DOWNLOAD_BYTES = 100 << 30  # of a checkpoint; the largest published one has 16 GB
MAX_TEXT_FILE_BYTES = 64 << 20  # of a file without weights; read_text accepts no more
MAX_LIST_BYTES = 16 << 20  # of the hub's list of files
MAX_FILES = 1000
STALL_S = 60.0
MIN_BYTES = 64 << 10  # in STALL_S; with fewer, the download is given up
_PIECES = 8  # received but not yet written
_FILE_NAME = re.compile(r"[\w-][\w.-]{0,127}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class _RemoteFile:
    name: str
    n_bytes: int
    sha256: str  # "" if the hub only has the other
    git_sha1: str


def download(
    name: str, folder: Path | None = None, *, report: Callable[[str], None] = lambda line: None
) -> Path:
    """Download a checkpoint, resume an interrupted download or repair a damaged one.

    Args:
        name: of a published checkpoint, or ``owner/name`` on Hugging Face.
        folder: to download to; by default where :func:`find_checkpoint` looks.
        report: called with one line per step.

    Returns:
        The complete folder, with ``SHA256SUMS``.

    Raises:
        ValueError: if the download fails, what was downloaded is kept for the next call; or if
            another process downloads to that folder.
    """
    repository = resolve_repository(name)
    folder = download_folder(repository) if folder is None else folder.expanduser()
    partial = folder.with_name(f"{folder.name}.partial")
    is_damaged = folder.is_dir()
    if is_damaged:
        if is_missing(folder / integrity.SUMS):
            raise ValueError(f"{folder} already exists and was not downloaded by this command")
        if not integrity.check(folder).problems:
            report(f"{folder}: already complete")
            return folder
    commit, files = _list_files(repository)
    try:
        if not is_damaged:
            make_folder(partial)
        with FolderLock(folder if is_damaged else partial):
            if is_damaged:
                folder.rename(partial)
            missing = [file for file in files if not _is_complete(partial / file.name, file)]
            _check_disk_space(partial, missing)
            for file in missing:
                report(f"{file.name}: {file.n_bytes / 1e6:.1f} MB")
                _download_file(repository, commit, file, partial / file.name)
            sums = {file.name: integrity.sha256(partial / file.name) for file in files}
            integrity.write_sums(partial, sums, f"{repository}@{commit}")
            move(partial, folder)
    except OSError as error:
        raise ValueError(
            f"the download of {repository} was interrupted ({one_line(error, with_type=False)}); "
            f"what was downloaded is kept in {partial}; run the same command again to resume it"
        ) from error
    if any(file.name.endswith(".bin") for file in files):
        report(f"these weights are pickled: mllmseg convert {folder}")
    return folder


def _list_files(repository: str) -> tuple[str, list[_RemoteFile]]:
    """List the files that a model needs in the newest commit; returns commit and files.

    Raises:
        ValueError: if the hub cannot be reached or refuses, or its list has no weights, is
            malformed or too large.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import validate_repo_id

    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            f"HF_HUB_OFFLINE is set, so {repository} is not downloaded; unset it, or copy the "
            "folder from a machine that has it and give its path as the model"
        )
    try:
        validate_repo_id(repository)
        _, pieces = _request(f"{constants.ENDPOINT}/api/models/{repository}?blobs=true")
        text = b"".join(_limit(pieces, MAX_LIST_BYTES, "the list of files"))
    except ValueError as error:
        raise ValueError(f"{repository}: {one_line(error, with_type=False)}") from error
    except _Refused as error:
        raise ValueError(
            f"{repository}: the hub refused it ({error}); check name and permission"
        ) from error
    except OSError as error:
        raise ValueError(f"no connection to {constants.ENDPOINT}: {error}") from error
    fields = parse_json(text.decode(errors="replace"), f"the list of files of {repository}")
    try:
        commit, files = _parse_list(fields)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{repository}: the hub's list of files is malformed ({error})") from error
    if not any(fnmatch.fnmatch(file.name, each) for file in files for each in _WEIGHT_FILES):
        raise ValueError(f"{repository} has no weights")
    if len(files) > MAX_FILES:
        raise ValueError(f"{repository} has {len(files)} files, accepted are up to {MAX_FILES}")
    n_bytes = sum(file.n_bytes for file in files)
    if n_bytes > MAX_DOWNLOAD_BYTES:
        raise ValueError(
            f"{repository} has {n_bytes / 1e9:.1f} GB, accepted are up to "
            f"{MAX_DOWNLOAD_BYTES / 1e9:.1f} GB"
        )
    return commit, files


def _parse_list(fields: Any) -> tuple[str, list[_RemoteFile]]:
    """Parse the hub's description of a repository; select the files that a model needs."""
    commit = fields["sha"]
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"commit {commit[:64]!r}")
    names = [entry["rfilename"] for entry in fields["siblings"]]
    weights = _WEIGHTS if _match(names, _WEIGHTS[:1]) else _PICKLES
    wanted = set(_match(names, (*weights, *_OTHERS)))
    files = []
    for entry in fields["siblings"]:
        name = entry["rfilename"]
        if name not in wanted:
            continue
        wanted.discard(name)  # a second entry of the same name is ignored
        n_bytes, digest = entry["size"], entry["blobId"]
        if entry.get("lfs"):
            digest = entry["lfs"]["sha256"]
        if type(n_bytes) is not int or n_bytes < 0 or not _DIGEST.fullmatch(digest):
            raise ValueError(f"size or checksum of {name}")
        is_weights = any(fnmatch.fnmatch(name, pattern) for pattern in _WEIGHT_FILES)
        if n_bytes > MAX_TEXT_FILE_BYTES and not is_weights:
            raise ValueError(
                f"{name} has {n_bytes} bytes, accepted are up to {MAX_TEXT_FILE_BYTES}"
            )
        is_sha256 = len(digest) == 64
        files.append(
            _RemoteFile(
                name=name,
                n_bytes=n_bytes,
                sha256=digest if is_sha256 else "",
                git_sha1="" if is_sha256 else digest,
            )
        )
    return commit, files


def _match(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Select matching names in the top folder; a name with a folder is never selected."""
    return [
        name
        for name in names
        if _FILE_NAME.fullmatch(name) and any(fnmatch.fnmatch(name, each) for each in patterns)
    ]


def _download_file(repository: str, commit: str, file: _RemoteFile, path: Path) -> None:
    """Download one file, resuming an interrupted download.

    Raises:
        OSError: if it is interrupted, or what comes is not what the hub's list says.
    """
    incomplete = path.with_name(f"{path.name}.{commit[:12]}.incomplete")
    with os.fdopen(open_own_file(incomplete, os.O_RDWR), "r+b") as out:
        if out.seek(0, os.SEEK_END) > file.n_bytes:
            out.truncate(0)
            out.seek(0)
        while out.tell() < file.n_bytes:
            begin = out.tell()
            try:
                _receive_file(repository, commit, file, out)
            except OSError:
                # A connection that broke is tried again, as long as it gets on.
                if out.tell() - begin < MIN_BYTES:
                    raise
    if not _is_complete(incomplete, file):
        incomplete.unlink()
        raise OSError(f"the checksum of {file.name} differs from the hub's; the file was deleted")
    move(incomplete, path)


def _receive_file(repository: str, commit: str, file: _RemoteFile, out: BinaryIO) -> None:
    """Append what is missing of a file."""
    from huggingface_hub import hf_hub_url
    from tqdm import tqdm

    url = hf_hub_url(repository, file.name, revision=commit)
    resumed, pieces = _request(url, begin=out.tell())
    if not resumed:
        out.seek(0)
        out.truncate()
    with tqdm(
        desc=file.name,
        initial=out.tell(),
        total=file.n_bytes,
        unit="B",
        unit_scale=True,
        mininterval=1,
        leave=False,
    ) as bar:
        for piece in _limit(pieces, file.n_bytes - out.tell(), file.name):
            out.write(piece)
            bar.update(len(piece))
    if out.tell() < file.n_bytes:
        raise OSError(f"{file.name} ended after {out.tell()} of {file.n_bytes} bytes")


class _Refused(OSError):
    """The server answered with an error status."""


def _request(url: str, begin: int = 0) -> tuple[bool, Iterator[bytes]]:
    """Request a URL, from a byte on.

    The network is waited for in a thread of its own: to a server that sends a byte now and then,
    be it of a header, time-outs of single reads never apply.

    Returns:
        Whether the body begins at that byte, not at the first one; and the pieces of the body.

    Raises:
        OSError: if there is no connection; also while the pieces are taken, if it breaks or fewer
            than MIN_BYTES come in STALL_S.
    """
    received: queue.Queue[int | bytes | OSError | None] = queue.Queue(_PIECES)
    given_up = threading.Event()
    arguments = (url, begin, received, given_up)
    threading.Thread(target=_receive, args=arguments, name="download", daemon=True).start()
    try:
        status = received.get(timeout=STALL_S)
    except queue.Empty:
        given_up.set()
        raise OSError(f"no response within {STALL_S:g} s") from None
    if isinstance(status, OSError):
        raise status
    assert isinstance(status, int)
    if status not in (200, 206) or (status == 206 and not begin):
        given_up.set()
        raise _Refused(f"HTTP status {status}")
    return status == 206, _take(received, given_up)


def _receive(
    url: str,
    begin: int,
    received: queue.Queue[int | bytes | OSError | None],
    given_up: threading.Event,
) -> None:
    """Put status, pieces of the body and None, or an OSError, into a queue."""
    from huggingface_hub.utils import build_hf_headers, get_session

    def put(item: int | bytes | OSError | None) -> None:
        while not given_up.is_set():
            try:
                return received.put(item, timeout=1.0)
            except queue.Full:
                continue
        raise OSError("given up")

    try:
        # Compressed, a few bytes could become gigabytes, and the length would be another.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if begin:
            headers["Range"] = f"bytes={begin}-"
        with get_session().stream(
            "GET", url, headers=headers, timeout=STALL_S, follow_redirects=True
        ) as response:
            put(response.status_code)
            for piece in response.iter_raw():
                put(piece)
        put(None)
    except Exception as error:  # the HTTP library's exceptions differ by version
        if not given_up.is_set():
            put(OSError(one_line(error, max_chars=300)))


def _take(
    received: queue.Queue[int | bytes | OSError | None], given_up: threading.Event
) -> Iterator[bytes]:
    """Yield the pieces of a body, as long as they come fast enough."""
    try:
        n_bytes, until_s = 0, time.monotonic() + STALL_S
        while True:
            try:
                piece = received.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                piece = b""
            if piece is None:
                return
            if isinstance(piece, OSError):
                raise piece
            assert isinstance(piece, bytes)
            n_bytes += len(piece)
            yield piece
            if time.monotonic() >= until_s:
                if n_bytes < MIN_BYTES:
                    raise OSError(f"{n_bytes} bytes in {STALL_S:g} s, which is too slow")
                n_bytes, until_s = 0, time.monotonic() + STALL_S
    finally:
        given_up.set()


def _limit(pieces: Iterator[bytes], max_bytes: int, name: str) -> Iterator[bytes]:
    """Yield pieces up to a number of bytes.

    Raises:
        OSError: if there are more.
    """
    n_bytes = 0
    for piece in pieces:
        n_bytes += len(piece)
        if n_bytes > max_bytes:
            raise OSError(f"the server sends more than {max_bytes} bytes for {name}")
        yield piece


def _is_complete(path: Path, file: _RemoteFile) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.n_bytes:
        return False
    if file.sha256:
        return integrity.sha256(path) == file.sha256
    content = read_bytes(path, max_bytes=file.n_bytes)
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.git_sha1


def _check_disk_space(folder: Path, missing: Sequence[_RemoteFile]) -> None:
    n_present = sum(path.lstat().st_size for path in folder.glob("*.incomplete"))
    needed = sum(file.n_bytes for file in missing) - n_present
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{needed / 1e9:.1f} GB of disk space needed, {free / 1e9:.1f} GB free")
