# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by name: which are published, where they are on this machine, how they come here.

Nothing is downloaded unless somebody asks for it by :func:`download` (``mllmseg models download``):
a node that starts without network finds what it needs or says what is missing. A download goes on
where it was cut off, is compared with the sums that the hub tells, and only then gets its name.
Imports no torch.
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

__all__ = ["PUBLISHED", "checkpoint_name", "download", "find_checkpoint"]

EMBEDDED = Path(__file__).parents[1] / "assets" / "tabletop"


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A checkpoint of the paper's authors."""

    repository: str  # owner/name on huggingface.co
    n_values: float  # weights, about: InternVL2.5 as its model card has it, and the mask decoder

    @property
    def name(self) -> str:
        """What it is called without its owner."""
        return checkpoint_name(self.repository)

    def n_bytes(self, bytes_per_value: int = 2) -> float:
        """Memory that its weights take; 2 bytes a value in bfloat16, 4 in float32."""
        return self.n_values * bytes_per_value


# By size, smallest first.
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
    """Return the folder of a checkpoint that is on this machine. Never downloads.

    Args:
        path_or_name: a local folder; or the name of a published checkpoint, or ``owner/name`` on
            Hugging Face, that ``mllmseg models download`` (or Hugging Face's own tool) has brought
            here; None is the embedded model.

    Raises:
        ValueError: if it is not here, saying how it comes here.
    """
    if path_or_name is None:
        return EMBEDDED
    folder = Path(path_or_name).expanduser()
    if folder.is_dir():
        return folder
    name = str(path_or_name)
    try:
        repository = repository_of(name)
    except ValueError as error:
        raise ValueError(
            f"no checkpoint folder {name!r}; accepted are a local folder with config.json and "
            "model.safetensors, or a Hugging Face repository name owner/name"
        ) from error
    found = _downloaded(repository)
    if found is None:
        raise ValueError(
            f"{name!r} is no local folder and was not downloaded to this machine; once, where "
            f"there is network: mllmseg models download {repository}"
        )
    return found


def checkpoint_name(path_or_name: str | Path | None) -> str:
    """Name that a checkpoint goes by: what the user called it, not where a link or cache keeps it.

    Returns:
        The last part of a path or repository name; "" for the embedded model and for ``.``.
    """
    return "" if path_or_name is None else Path(path_or_name).name


def repository_of(name: str) -> str:
    """``owner/name`` of what a person calls a checkpoint.

    Raises:
        ValueError: if it is neither that nor the name of a published one.
    """
    for each in PUBLISHED:
        if name in (each.name, each.repository):
            return each.repository
    parts = name.split("/")
    if len(parts) != 2 or not all(parts) or any(part[0] in ".~" for part in parts):
        known = ", ".join(each.name for each in PUBLISHED)
        raise ValueError(f"{name!r} is no model name; accepted: owner/name, or one of {known}")
    return name


def folder_for(repository: str) -> Path:
    """Where a download of a repository goes, unless a folder is named."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "mllmseg" / "models" / repository


def _downloaded(repository: str) -> Path | None:
    folder = folder_for(repository)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:  # the cache of Hugging Face's own tools
        return Path(snapshot_download(repository, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def is_downloaded(model: PublishedModel) -> bool:
    """Whether a published checkpoint is on this machine."""
    return _downloaded(model.repository) is not None


def smaller(n_values: float) -> str:
    """Name of the largest published checkpoint clearly smaller than this; "" if there is none."""
    names = [each.name for each in PUBLISHED if each.n_values < 0.9 * n_values]
    return names[-1] if names else ""


# Download


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    n_bytes: int
    sha256: str  # "" where the hub tells only the other
    git_sha1: str


def download(
    name: str, folder: Path | None = None, *, report: Callable[[str], None] = lambda line: None
) -> Path:
    """Bring a checkpoint to this machine, or complete one that was cut off or has been damaged.

    Args:
        name: of a published checkpoint, or ``owner/name`` on Hugging Face.
        folder: where to; by default where :func:`find_checkpoint` looks for that name.
        report: takes a line per step.

    Returns:
        The folder, whole and with ``SHA256SUMS``.

    Raises:
        ValueError: if it cannot be had, saying why; what came so far is kept for the next call.
    """
    repository = repository_of(name)
    folder = folder_for(repository) if folder is None else folder.expanduser()
    partial = folder.with_name(f"{folder.name}.partial")
    if folder.is_dir():
        if not (folder / integrity.SUMS).is_file():
            raise ValueError(f"{folder} is there already and was not made by a download")
        if not integrity.check(folder).problems:
            report(f"{folder}: already there and whole")
            return folder
        folder.rename(partial)
    commit, files = _list_files(repository)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        missing = [file for file in files if not _is_whole(partial / file.name, file)]
        _check_room(partial, missing)
        for file in missing:
            report(f"{file.name}: {file.n_bytes / 1e6:.1f} MB")
            _fetch(repository, commit, file, partial / file.name)
    except OSError as error:
        raise ValueError(
            f"the download of {repository} was cut off ({error}); what has come is kept in "
            f"{partial}, and the same command goes on with it"
        ) from error
    sums = {file.name: integrity.sha256(partial / file.name) for file in files}
    integrity.write_sums(partial, sums, f"{repository}@{commit}")
    partial.rename(folder)
    if any(file.name.endswith(".bin") for file in files):
        report(f"these weights are pickled: mllmseg convert {folder}")
    return folder


def _list_files(repository: str) -> tuple[str, list[_File]]:
    """The commit that is newest now, and its files that a model needs."""
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
        raise ValueError(f"{repository}: the hub does not answer for it: {error}") from error
    except Exception as error:  # what the HTTP library underneath raises differs by version
        raise ValueError(f"no connection to {constants.ENDPOINT}: {error}") from error
    names = [each.rfilename for each in info.siblings]
    weights = _WEIGHTS if _matching(names, _WEIGHTS[:1]) else _PICKLES
    wanted = _matching(names, (*weights, *_OTHERS))
    files = [
        _File(
            name=each.rfilename,
            n_bytes=each.size,
            sha256=each.lfs.sha256 if each.lfs else "",
            git_sha1="" if each.lfs else each.blob_id,
        )
        for each in info.siblings
        if each.rfilename in wanted
    ]
    if not _matching(names, weights[:1]):
        raise ValueError(f"{repository} holds no weights")
    return info.sha, files


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Names of the top folder alone: a name never leads anywhere else."""
    return [
        name
        for name in names
        if Path(name).name == name and any(fnmatch.fnmatch(name, each) for each in patterns)
    ]


def _fetch(repository: str, commit: str, file: _File, path: Path) -> None:
    """Bring one file, going on where it was cut off."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    incomplete = path.with_name(f"{path.name}.{commit[:12]}.incomplete")
    if incomplete.is_file() and incomplete.stat().st_size > file.n_bytes:
        incomplete.unlink()
    with incomplete.open("ab") as out:
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
        except Exception as error:  # what the HTTP library underneath raises differs by version
            raise OSError(f"{type(error).__name__}: {error}") from error
    if not _is_whole(incomplete, file):
        incomplete.unlink()
        raise OSError(f"{file.name} came with another checksum than the hub tells; thrown away")
    incomplete.replace(path)


def _is_whole(path: Path, file: _File) -> bool:
    if not path.is_file() or path.stat().st_size != file.n_bytes:
        return False
    if file.sha256:
        return integrity.sha256(path) == file.sha256
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.git_sha1


def _check_room(folder: Path, missing: Sequence[_File]) -> None:
    there = sum(path.stat().st_size for path in folder.glob("*.incomplete"))
    needed = sum(file.n_bytes for file in missing) - there
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{needed / 1e9:.1f} GB are still to come, {free / 1e9:.1f} GB are free")
