# SPDX-License-Identifier: Apache-2.0
"""Find checkpoints by name on this machine, and download published ones.

Only :func:`download` (``mllmseg models download``) downloads anything: a node without network finds
its checkpoint or says what is missing. An interrupted download is resumed, and its checksums are
compared with the hub's before the folder gets its final name. Imports no torch.

Files are not fetched by huggingface_hub's ``snapshot_download``: it deletes incomplete files when a
download is interrupted (so that 16 GB would start again) and does not verify checksums.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.files import FolderLock, appended_file, make_folder, move

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

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_PICKLES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
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
    folder = Path(path_or_name).expanduser()
    if folder.is_dir():
        return folder
    name = str(path_or_name)
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
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def is_downloaded(model: PublishedModel) -> bool:
    """Return whether a published checkpoint is on this machine."""
    return _find_downloaded(model.repository) is not None


def find_smaller_model(n_values: float) -> str:
    """Return the largest published checkpoint that is clearly smaller; "" if there is none."""
    names = [model.name for model in PUBLISHED if model.n_values < 0.9 * n_values]
    return names[-1] if names else ""


# Download


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
        if not (folder / integrity.SUMS).is_file():
            raise ValueError(f"{folder} already exists and was not downloaded by this command")
        if not integrity.check(folder).problems:
            report(f"{folder}: already complete")
            return folder
    commit, files = _list_files(repository)
    if not is_damaged:
        make_folder(partial)
    with FolderLock(folder if is_damaged else partial):
        if is_damaged:
            folder.rename(partial)
        _download(repository, commit, files, partial, report)
        move(partial, folder)
    if any(file.name.endswith(".bin") for file in files):
        report(f"these weights are pickled: mllmseg convert {folder}")
    return folder


def _download(
    repository: str,
    commit: str,
    files: Sequence[_RemoteFile],
    partial: Path,
    report: Callable[[str], None],
) -> None:
    """Download the files that are missing in a locked folder."""
    try:
        missing = [file for file in files if not _is_complete(partial / file.name, file)]
        _check_disk_space(partial, missing)
        for file in missing:
            report(f"{file.name}: {file.n_bytes / 1e6:.1f} MB")
            _download_file(repository, commit, file, partial / file.name)
    except OSError as error:
        raise ValueError(
            f"the download of {repository} was interrupted ({error}); what was downloaded is "
            f"kept in {partial}, and the same command resumes it"
        ) from error
    sums = {file.name: integrity.sha256(partial / file.name) for file in files}
    integrity.write_sums(partial, sums, f"{repository}@{commit}")


def _list_files(repository: str) -> tuple[str, list[_RemoteFile]]:
    """List the files that a model needs in the newest commit; returns commit and files."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            f"HF_HUB_OFFLINE is set, so {repository} is not downloaded; unset it, or copy the "
            "folder from a machine that has it and give its path as the model"
        )
    try:
        info: Any = HfApi().model_info(repository, files_metadata=True)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ValueError(f"{repository}: the hub refused it: {error}") from error
    except Exception as error:  # the HTTP library's exceptions differ by version
        raise ValueError(f"no connection to {constants.ENDPOINT}: {error}") from error
    names = [entry.rfilename for entry in info.siblings]
    weights = _WEIGHTS if _match(names, _WEIGHTS[:1]) else _PICKLES
    wanted = _match(names, (*weights, *_OTHERS))
    files = [
        _RemoteFile(
            name=entry.rfilename,
            n_bytes=entry.size,
            sha256=entry.lfs.sha256 if entry.lfs else "",
            git_sha1="" if entry.lfs else entry.blob_id,
        )
        for entry in info.siblings
        if entry.rfilename in wanted
    ]
    if not _match(names, weights[:1]):
        raise ValueError(f"{repository} has no weights")
    return info.sha, files


def _match(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Select matching names in the top folder; a name with a folder is never selected."""
    return [
        name
        for name in names
        if Path(name).name == name and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]


def _download_file(repository: str, commit: str, file: _RemoteFile, path: Path) -> None:
    """Download one file, resuming an interrupted download."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    incomplete = path.with_name(f"{path.name}.{commit[:12]}.incomplete")
    if incomplete.is_file() and incomplete.stat().st_size > file.n_bytes:
        incomplete.unlink()
    with appended_file(incomplete) as out:
        try:
            http_get(
                hf_hub_url(repository, file.name, revision=commit),
                out,
                resume_size=out.tell(),
                headers=build_hf_headers(),
                expected_size=file.n_bytes,
            )
        except HfHubHTTPError as error:
            raise OSError(str(error)) from error
        except OSError:
            raise
        except Exception as error:  # the HTTP library's exceptions differ by version
            raise OSError(f"{type(error).__name__}: {error}") from error
    if not _is_complete(incomplete, file):
        incomplete.unlink()
        raise OSError(f"the checksum of {file.name} differs from the hub's; the file was deleted")
    move(incomplete, path)


def _is_complete(path: Path, file: _RemoteFile) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.n_bytes:
        return False
    if file.sha256:
        return integrity.sha256(path) == file.sha256
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.git_sha1


def _check_disk_space(folder: Path, missing: Sequence[_RemoteFile]) -> None:
    n_present = sum(path.lstat().st_size for path in folder.glob("*.incomplete"))
    needed = sum(file.n_bytes for file in missing) - n_present
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{needed / 1e9:.1f} GB of disk space needed, {free / 1e9:.1f} GB free")
