# SPDX-License-Identifier: Apache-2.0
"""Everything installed, built and run comes from the sources that this repository names."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from mllmseg_ros.checkpoints.conversion import convert_checkpoint
from mllmseg_ros.cli import main

pytestmark = pytest.mark.threat("B1", "B2")

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which ROS 2 brings")

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("lock*.txt"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile*"))
UNIT = ROOT / "config" / "mllmseg.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def pins(lock: Path) -> list[str]:
    return [line for line in lock.read_text().splitlines() if not line.startswith("#")]


def name(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_is_one_file_of_known_hash(lock: Path) -> None:
    pin = re.compile(r"[a-z0-9-]+==[\w.]+(\+cpu)? --hash=sha256:[0-9a-f]{64}")
    assert pins(lock) != []
    assert [line for line in pins(lock) if not pin.fullmatch(line)] == []


@pytest.mark.parametrize("ros_lock", ["lock_jazzy.txt", "lock_kilted.txt"])
def test_no_package_is_locked_twice(ros_lock: str) -> None:
    for torch_lock in ("lock_cpu.txt", "lock_cuda.txt"):
        names = ("lock.txt", "lock_sources.txt", ros_lock, torch_lock)
        locks = [REQUIREMENTS / each for each in names]
        names = [name(line) for lock in locks for line in pins(lock)]
        assert len(names) == len(set(names))


def text_files() -> list[Path]:
    """What tells a person or a machine where to install from."""
    folders = (".ci", ".github", "docker", "docs", "requirements", "tools")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    suffixes = {".png", ".jpg", ".webp", ".pyc"}
    return [
        path for path in found if path.suffix not in suffixes and ".ruff_cache" not in path.parts
    ]


def test_packages_come_from_one_index() -> None:
    """With two, the higher version of a name wins, whoever has put it there."""
    assert len(text_files()) > 50
    for path in text_files():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"extra[-_]index", text, re.IGNORECASE), path
        for line in text.replace("\\\n", " ").splitlines():
            if "--index-url" in line:  # a single file, and what it needs from PyPI
                assert "pip download --no-deps" in line, (path, line)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_use_actions_by_commit(workflow: Path) -> None:
    described = yaml.safe_load(workflow.read_text())
    assert described["permissions"] == {"contents": "read"}
    steps = [step for job in described["jobs"].values() for step in job["steps"]]
    assert not any("permissions" in job for job in described["jobs"].values())
    used = [step for step in steps if "uses" in step]
    assert used
    for step in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_containers_run_as_a_user(dockerfile: Path) -> None:
    instructions = re.findall(r"^([A-Z]+) +(.*)$", dockerfile.read_text(), re.MULTILINE)
    users = [argument for instruction, argument in instructions if instruction == "USER"]
    assert users == ["robot"]
    after = instructions[instructions.index(("USER", "robot")) + 1 :]
    assert {instruction for instruction, _ in after} == {"ENTRYPOINT", "CMD"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_keys_of_apt_are_checked_before_they_are_used(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    for path in re.findall(r"-o (\S*keyring\S*)", text):
        assert text.index(f"check_key.sh {path} ") < text.index(f"signed-by={path}")
    assert "apt-key" not in text
    assert "trusted=yes" not in text
    assert set(re.findall(r"^ARG \w+_KEY=(.*)$", text, re.MULTILINE)) <= {
        "C1CF6E31E6BADE8868B172B4F42ED6FBAB17C654",  # packages.ros.org
        "EB693B3035CD5710E231E123A4B469963BF863CC",  # NVIDIA's repositories of CUDA
    }


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
def test_a_key_of_another_fingerprint_is_refused(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as home:  # pytest's may be too long for the agent's socket
        environment = {**os.environ, "GNUPGHOME": home}

        def gpg(*arguments: str) -> str:
            command = ["gpg", "--batch", "--quiet", "--passphrase", "", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        for owner in ("ours", "theirs"):
            gpg("--quick-gen-key", owner, "ed25519", "sign", "never")
            gpg("--output", str(tmp_path / owner), "--export", owner)
        gpg("--output", str(tmp_path / "both"), "--export")
        lines = gpg("--with-colons", "--list-keys", "ours").splitlines()
        fingerprint = next(line.split(":")[9] for line in lines if line.startswith("fpr"))
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
    (tmp_path / "page").write_text("<html>404</html>")

    def check(file: str) -> subprocess.CompletedProcess[str]:
        command = [ROOT / "docker" / "check_key.sh", tmp_path / file, fingerprint]
        return subprocess.run(command, capture_output=True, text=True)

    assert check("ours").returncode == 0
    for file in ("theirs", "both", "page", "nothing"):
        assert check(file).returncode == 1
        assert f"{tmp_path / file}: expected the key {fingerprint}" in check(file).stderr


# Below these, a file, a message or a page reaches a published vulnerability.
_FLOORS = {
    "aiohttp": "3.14.5",
    "opencv-python-headless": "4.8.1.78",
    "pillow": "12.3",
    "pyarrow": "14.0.1",
    "ray": "2.56",
    "sentencepiece": "0.2.1",
    "torch": "2.6",
    "tqdm": "4.66.3",
    "transformers": "5.10",
}


def test_ranges_begin_above_published_vulnerabilities() -> None:
    lowest: dict[str, list[tuple[int, ...]]] = {}
    for file in REQUIREMENTS.glob("*.txt"):
        if file in LOCKS:
            continue
        for line in file.read_text().splitlines():
            if line and not line.startswith("#") and (found := re.search(r">=([\d.]+)", line)):
                lowest.setdefault(name(line), []).append(tuple(map(int, found[1].split("."))))
    for package, floor in _FLOORS.items():
        assert min(lowest[package]) >= tuple(map(int, floor.split("."))), package
    assert "python3-aiohttp" not in (ROOT / "package.xml").read_text().replace("<!--", "")


@pytest.mark.parametrize("version", ["2.4.0", "2.5.1+cu121", "2.9.1", "2.10.0a0+b1.nv26.1"])
def test_a_torch_that_pickles_can_take_over_converts_none(
    version: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(torch, "__version__", version)
    assert main(["convert", str(tmp_path)]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"torch {version}" in line
    assert "install torch 2.10 or newer" in line
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    assert convert_checkpoint(tmp_path) == [tmp_path / "model.safetensors"]


def test_the_bill_of_materials_has_every_locked_package_and_the_model(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx", reason="needs requirements/sbom.txt")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    path = tmp_path / "sbom.json"
    command = [sys.executable, ROOT / "tools" / "sbom.py", path]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    document = json.loads(path.read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "mllmseg_ros"
    listed = {
        f"{re.sub(r'[-_.]+', '-', each['name'].lower())}=={each['version']}"
        for each in document["components"]
    }
    distro = "jazzy" if "ros-jazzy-rclpy==7.1.6" in listed else "kilted"
    locked = {
        line.split(" ")[0]
        for lock in ("lock.txt", "lock_sources.txt", f"lock_{distro}.txt")
        for line in pins(REQUIREMENTS / lock)
    }
    assert locked <= listed
    assert f"torch=={importlib.metadata.version('torch')}" in listed

    (model,) = (each for each in document["components"] if each["type"] == "machine-learning-model")
    weights = ROOT / model["properties"][0]["value"]
    assert model["hashes"] == [
        {"alg": "SHA-256", "content": hashlib.sha256(weights.read_bytes()).hexdigest()}
    ]
    assert model["hashes"][0]["content"] in (weights.parent / "SHA256SUMS").read_text()
    document["components"] = [model]  # the rest takes the validator half a minute
    document.pop("dependencies")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


@needs_systemd
def test_the_service_is_exposed_to_little_and_restarts() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    report = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for mllmseg.service: ([\d.]+)", report.stdout)
    assert found, report.stdout + report.stderr
    assert float(found[1]) < 4.0
    command = ["systemd-analyze", "verify", str(UNIT)]
    report = subprocess.run(command, capture_output=True, text=True)
    assert (report.returncode, report.stderr) == (0, "")


def test_the_service_leaves_the_node_what_it_needs() -> None:
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if re.match(r"\w+=", line):
            settings.setdefault(line.split("=", 1)[0], []).append(line.split("=", 1)[1])
    assert settings["Restart"] == ["always"]
    assert settings["Type"] == ["notify"]
    assert int(settings["WatchdogSec"][0]) >= 30  # an inference on a CPU takes long
    # launch and `ros2 run` keep the node's status and signals to themselves.
    (start,) = settings["ExecStart"]
    assert re.search(r"&& exec \S+/lib/mllmseg_ros/mllmseg_node --ros-args ", start)
    # The GPU, what torch and CUDA generate, DDS and its shared memory.
    closed = "PrivateDevices DevicePolicy DeviceAllow ProtectClock ProcSubset RemoveIPC"
    closed += " MemoryDenyWriteExecute PrivateNetwork PrivateIPC IPAddressDeny"
    assert settings.keys().isdisjoint(closed.split())
    families = set(settings["RestrictAddressFamilies"][0].split())
    assert families == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
    assert settings["ProtectHome"] == ["read-only"]  # the workspace and the models
    items = [item for line in settings["Environment"] for item in line.split()]
    environment = dict(item.split("=", 1) for item in items)
    assert environment["ROS_LOG_DIR"] == f"/var/log/{settings['LogsDirectory'][0]}"
    assert environment["XDG_CACHE_HOME"] == f"/var/cache/{settings['CacheDirectory'][0]}"
