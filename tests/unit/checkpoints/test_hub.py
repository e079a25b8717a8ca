# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are downloaded from a fake hub, completely or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mllmseg_ros.checkpoints.hub import (
    EMBEDDED,
    PUBLISHED,
    find_checkpoint,
    find_smaller_model,
    resolve_repository,
)
from mllmseg_ros.checkpoints.integrity import SUMS, check, count_values

ROOT = Path(__file__).parents[3]
MODEL = PUBLISHED[0]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOT_WANTED = "../outside.json"


class Hub:
    """Serves the embedded model's files under a published name."""

    def __init__(self) -> None:
        names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
        self.files = {name: (EMBEDDED / name).read_bytes() for name in names}
        self.requests: list[tuple[str, str | None]] = []  # path, Range header
        self.cut_after: int | None = None  # bytes of the weights, then nothing more is served
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def info(self) -> bytes:
        siblings = [{"rfilename": NOT_WANTED, "size": 1, "blobId": "0"}]
        for name, content in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry = {"rfilename": name, "size": len(content), "blobId": blob}
            if name.endswith(".safetensors"):
                entry["lfs"] = {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 100,
                }
            siblings.append(entry)
        return json.dumps({"id": MODEL.repository, "sha": COMMIT, "siblings": siblings}).encode()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        path, range_ = request.path.partition("?")[0], request.headers.get("Range")
        self.requests.append((path, range_))
        if path == f"/api/models/{MODEL.repository}":
            return self.send(request, 200, self.info())
        prefix = f"/{MODEL.repository}/resolve/{COMMIT}/"
        content = self.files.get(path.removeprefix(prefix))
        if content is None:
            return self.send(request, 404, b"")
        begin = int(range_.removeprefix("bytes=").rstrip("-")) if range_ else 0
        if path.endswith(".safetensors") and self.cut_after is not None:
            n_bytes, self.cut_after = self.cut_after, 0
            if not n_bytes:
                return self.send(request, 503, b"")
            return self.send(request, 200, content, n_bytes)
        return self.send(request, 206 if begin else 200, content[begin:])

    def send(
        self, request: BaseHTTPRequestHandler, status: int, content: bytes, n: int | None = None
    ) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:n])


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def mllmseg(hub: Hub, tmp_path: Path):
    """Runs ``mllmseg models …`` as a user would, on an empty machine."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from mllmseg_ros.cli import main; sys.exit(main(sys.argv[1:]))"
        environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "NO_PROXY": "127.0.0.1",
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-c", code, "models", *arguments],
            env=environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_an_interrupted_download_resumes(hub: Hub, mllmseg, tmp_path) -> None:
    folder = tmp_path / "data" / "mllmseg" / "models" / MODEL.repository
    hub.cut_after = 12_000_000
    interrupted = mllmseg("download", MODEL.name)
    assert interrupted.returncode == 1
    assert "run the same command again to resume it" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert not folder.exists()  # only a complete folder has that name
    assert f"download {MODEL.name}" in mllmseg("list").stdout

    hub.cut_after = None
    hub.requests.clear()
    resumed = mllmseg("download", MODEL.name)
    assert (resumed.returncode, resumed.stdout.strip()) == (0, str(folder)), resumed.stderr
    fetched = dict(hub.requests)
    range_ = fetched[f"/{MODEL.repository}/resolve/{COMMIT}/model.safetensors"]
    assert range_ == "bytes=12000000-"
    assert not [path for path in fetched if path.endswith("/config.json")]  # it was complete
    assert {path.name for path in folder.iterdir()} == {*hub.files, SUMS}
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert COMMIT in (folder / SUMS).read_text()
    subprocess.run(["sha256sum", "--check", "--status", SUMS], cwd=folder, check=True)

    # Without network from here on.
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    assert mllmseg("verify", MODEL.name, **offline).returncode == 0
    assert f"{MODEL.name:28}{1.94:6.2f} GB  yes" in mllmseg("list", **offline).stdout
    weights = folder / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1  # one bit
    weights.write_bytes(damaged)
    found = mllmseg("verify", MODEL.name, **offline)
    assert found.returncode == 1
    assert f"{weights}: sha256 differs from the one in {SUMS}" in found.stdout
    assert mllmseg("download", MODEL.name).returncode == 0  # repairs it
    assert mllmseg("verify", MODEL.repository, **offline).returncode == 0


def test_nothing_is_downloaded_where_that_is_forbidden(hub: Hub, mllmseg) -> None:
    refused = mllmseg("download", MODEL.name, HF_HUB_OFFLINE="1")
    assert refused.returncode == 1
    assert "HF_HUB_OFFLINE is set" in refused.stderr
    missing = mllmseg("verify", MODEL.name)  # as a node would look for it
    assert missing.returncode == 1
    assert f"mllmseg models download {MODEL.repository}" in missing.stderr
    assert hub.requests == []


def test_what_hugging_face_s_own_tools_have_brought_is_found(hub: Hub, mllmseg, tmp_path) -> None:
    cache = tmp_path / "hf" / "hub" / "models--owner--name"
    shutil.copytree(EMBEDDED, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    found = mllmseg("verify", "owner/name")
    assert found.returncode == 0, found.stderr
    assert str(cache / "snapshots" / COMMIT) in found.stdout
    assert hub.requests == []


def test_weights_with_another_checksum_than_the_hub_s_are_deleted(
    hub: Hub, mllmseg, tmp_path: Path
) -> None:
    info = hub.info()
    hub.files["model.safetensors"] = bytes(len(hub.files["model.safetensors"]))
    hub.info = lambda: info  # type: ignore[method-assign]
    to = tmp_path / "here"
    failed = mllmseg("download", "somebody/else")
    assert failed.returncode == 1
    assert "somebody/else" in failed.stderr
    failed = mllmseg("download", MODEL.name, "--to", str(to))
    assert failed.returncode == 1
    assert "the checksum of model.safetensors differs" in failed.stderr
    assert not to.exists()
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_download_writes_through_no_link(hub: Hub, mllmseg, tmp_path: Path) -> None:
    victim, nothing = tmp_path / "bashrc", tmp_path / "authorized_keys"
    victim.write_text("mine")
    to = tmp_path / "here"
    partial = tmp_path / "here.partial"
    partial.mkdir()
    (partial / f"{SUMS}.partial").symlink_to(victim)
    (partial / SUMS).symlink_to(nothing)
    (partial / "config.json").symlink_to(victim)
    complete = tmp_path / "tokenizer.json"  # what the hub has, as long as nobody changes it
    complete.write_bytes(hub.files["tokenizer.json"])
    (partial / "tokenizer.json").symlink_to(complete)
    incomplete = partial / f"model.safetensors.{COMMIT[:12]}.incomplete"
    for target in (victim, nothing):
        incomplete.symlink_to(target)
        refused = mllmseg("download", MODEL.name, "--to", str(to))
        assert refused.returncode == 1
        assert f"{incomplete.name} is a symbolic link" in refused.stderr
        assert "Traceback" not in refused.stderr
        incomplete.unlink()
    assert mllmseg("download", MODEL.name, "--to", str(to)).returncode == 0
    assert check(to).problems == ()
    assert not any(path.is_symlink() for path in to.iterdir() if path.name in (*hub.files, SUMS))
    (tmp_path / "there.partial").symlink_to(tmp_path / "data")
    (tmp_path / "data").mkdir()
    refused = mllmseg("download", MODEL.name, "--to", str(tmp_path / "there"))
    assert "there.partial is a symbolic link, accepted is a folder" in refused.stderr
    assert list((tmp_path / "data").iterdir()) == []
    assert victim.read_text() == "mine"
    assert not nothing.exists()


def test_the_second_of_two_downloads_gets_an_error_that_names_the_first(
    hub: Hub, mllmseg, tmp_path: Path
) -> None:
    to = tmp_path / "here"
    held, go_on = threading.Event(), threading.Event()
    send = hub.send

    def slow(request, status: int, content: bytes, n: int | None = None) -> None:
        if request.path.endswith(".safetensors"):
            held.set()
            go_on.wait(100)
        send(request, status, content, n)

    hub.send = slow  # type: ignore[method-assign]
    first: list[subprocess.CompletedProcess[str]] = []
    downloading = threading.Thread(
        target=lambda: first.append(mllmseg("download", MODEL.name, "--to", str(to)))
    )
    downloading.start()
    assert held.wait(60)
    second = mllmseg("download", MODEL.name, "--to", str(to))
    assert second.returncode == 1
    assert f"{to}.partial is in use by '-c models' (process " in second.stderr
    go_on.set()
    downloading.join()
    assert first[0].returncode == 0, first[0].stderr
    assert {path.name for path in to.iterdir()} == {*hub.files, SUMS}


def test_the_embedded_model_is_the_one_that_was_released() -> None:
    """After training it anew: sha256sum *.json *.safetensors, without recipe.json, > SHA256SUMS."""
    report = check(EMBEDDED)
    assert report.problems == ()
    assert "sha256 of 4 files" in report.checked
    assert count_values(EMBEDDED) == pytest.approx(7.1e6, rel=0.01)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "not a complete safetensors"),
        (lambda path: path.write_bytes(path.read_bytes()[:5]), "header is truncated"),
        (lambda path: path.write_bytes(b"\xff" * 1000), "header is truncated"),
        (lambda path: path.write_bytes((2).to_bytes(8, "little") + b"{]"), "not a safetensors he"),
        (lambda path: path.unlink(), "not found"),
    ],
)
def test_damage_is_named_without_sums_too(
    random_checkpoint: Path, tmp_path: Path, damage, problem: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in random_checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert check(folder).problems == ()
    assert "no SHA256SUMS" in check(folder).checked
    damage(folder / "model.safetensors")
    problems = check(folder).problems
    assert len(problems) == 1
    assert problem in problems[0]
    assert str(folder / "model.safetensors") in problems[0]


def test_a_lost_shard_and_a_lost_tensor_are_named(random_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in random_checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"no.such.tensor": "model.safetensors"}}))
    assert "1 tensors of the index are missing" in check(folder).problems[0]
    index.write_text(json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}}))
    assert "model-00002-of-00002.safetensors: not found" in check(folder).problems[0]


def test_sums_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / SUMS).write_text(f"{'0' * 64}  ../../etc/passwd\n")
    assert any("line 1: expected a sha256" in each for each in check(tmp_path).problems)


def test_names() -> None:
    assert (
        resolve_repository("MLLMSeg_InternVL2_5_1B_RES") == "jcwang0602/MLLMSeg_InternVL2_5_1B_RES"
    )
    assert resolve_repository("owner/name") == "owner/name"
    for name in ("nothing", "a/b/c", "/absolute", "../up", "owner/", "~/model", "owner/..", ""):
        with pytest.raises(ValueError, match="accepted: owner/name, or one of MLLMSeg_Intern"):
            resolve_repository(name)
        if name:
            with pytest.raises(ValueError, match="no checkpoint folder"):
                find_checkpoint(name)
    assert find_smaller_model(8.1e9) == "MLLMSeg_InternVL2_5_4B_RES"
    assert find_smaller_model(0.97e9) == ""
