# SPDX-License-Identifier: Apache-2.0
"""The scripts behind `make`: what they keep, what they rewrite, what they name."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[f"tools_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An import path in front of all others, and none of the robot's torch in sys.modules."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "robot_torch", raising=False)
    return tmp_path


def test_torch_that_imports_is_kept_whatever_its_version(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "robot_torch.py").write_text('__version__ = "2.4.0a0+07cecf4168.nv24.5"\n')
    install_ranges = load("install_ranges")
    monkeypatch.setattr(install_ranges, "KEPT_IF_IMPORTABLE", {"torch": "robot_torch"})
    wanted, constraints = install_ranges.wanted_and_constraints(
        ["# core", "", "torch>=2.4", "tqdm"]
    )
    assert wanted == ["tqdm"]
    assert "torch===2.4.0a0+07cecf4168.nv24.5" in constraints


@pytest.mark.parametrize("source", [None, "raise OSError('libcudart.so.12: cannot open')"])
def test_torch_that_does_not_import_is_installed(
    source: str | None, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source is not None:
        (packages / "robot_torch.py").write_text(source)
    install_ranges = load("install_ranges")
    monkeypatch.setattr(install_ranges, "KEPT_IF_IMPORTABLE", {"torch": "robot_torch"})
    wanted, constraints = install_ranges.wanted_and_constraints(["torch>=2.4"])
    assert wanted == ["torch>=2.4"]
    assert not any(constraint.startswith("torch") for constraint in constraints)


def test_numpy_keeps_the_major_version_that_ros_was_built_with() -> None:
    major = int(np.__version__.split(".")[0])
    _, constraints = load("install_ranges").wanted_and_constraints(["numpy>=1.26,<3"])
    assert constraints == [f"numpy<{major + 1}"]


@pytest.mark.parametrize(
    ("release", "asks"),
    [
        ("# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64", True),
        ("# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64", False),
        ("# R39 (release), REVISION: 0.0", False),
        ("something else", True),
        (None, False),
    ],
)
def test_only_a_jetson_before_jetpack_7_needs_torch_of_nvidia(
    release: str | None, asks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_ranges = load("install_ranges")
    monkeypatch.setattr(install_ranges, "JETSON_RELEASE", tmp_path / "nv_tegra_release")
    if release is not None:
        (tmp_path / "nv_tegra_release").write_text(f"{release}\n")
    assert install_ranges.needs_torch_of_nvidia(["tqdm", "torch>=2.6"]) == asks
    assert not install_ranges.needs_torch_of_nvidia(["tqdm"])  # there is one


def test_ranges_for_another_machine_leave_out_what_it_has_no_wheel_of() -> None:
    resolve_ranges = load("resolve_ranges")
    machines = resolve_ranges.MACHINES
    names = {
        name: {line.split(">")[0] for line in resolve_ranges.wanted(machine)}
        for name, machine in machines.items()
    }
    assert names["humble"] - names["humble-jetson"] == {"pocketsphinx"}
    assert "torch" in names["humble-jetson"]
    options = machines["humble-jetson"].options()
    assert "--platform=manylinux_2_35_aarch64" in options
    assert "--platform=manylinux_2_36_aarch64" not in options


def test_cmake_exports_name_this_environment_once(tmp_path: Path) -> None:
    exports = tmp_path / "share" / "rclpy" / "cmake" / "rclpyConfig.cmake"
    exports.parent.mkdir(parents=True)
    prefix = "/opt/python/cp311-cp311"
    exports.write_text(f"{prefix}/include/python3.11;{prefix}/lib/librcl.so")
    fix_cmake_exports = load("fix_cmake_exports").fix_cmake_exports
    assert fix_cmake_exports(tmp_path) == 1
    assert exports.read_text() == f"{sysconfig.get_paths()['include']};{tmp_path}/lib/librcl.so"
    assert fix_cmake_exports(tmp_path) == 0


def write_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel that holds one module; returns its SHA-256."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f'__version__ = "{version}"\n')
        wheel.writestr(f"{info}/METADATA", metadata)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Locks:
    """Lock files of a package and two builds of torch, and a place that has them."""

    def __init__(self, folder: Path) -> None:
        self.links, self.locks, self.target = (folder / each for each in ("links", "locks", "to"))
        self.links.mkdir()
        self.locks.mkdir()
        rest = write_wheel(self.links, "locked_rest", "1.5")
        cpu = write_wheel(self.links, "torch", "2.13.0+cpu")
        cuda = write_wheel(self.links, "torch", "2.13.0")
        ros = write_wheel(self.links, "locked_ros", "7.1")
        self.write("lock.txt", f"locked-rest==1.5 --hash=sha256:{rest}")
        self.write("lock_jazzy.txt", f"locked-ros==7.1 --hash=sha256:{ros}")
        self.write("lock_sources.txt", "# none")
        self.write("lock_cpu.txt", f"torch==2.13.0+cpu --hash=sha256:{cpu}")
        self.write("lock_cuda.txt", f"torch==2.13.0 --hash=sha256:{cuda}")

    def write(self, name: str, text: str) -> None:
        (self.locks / name).write_text(f"{text}\n")

    def install(self) -> tuple[int, str]:
        """Return the status and what was said."""
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.links),
            "PIP_TARGET": str(self.target),
        }
        command = [sys.executable, str(TOOLS / "install_lock.py"), str(self.locks), "jazzy"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        return result.returncode, result.stdout + result.stderr

    def version(self, module: str) -> str:
        return (self.target / f"{module}.py").read_text().split('"')[1]


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    return Locks(tmp_path)


def test_the_lock_takes_the_build_of_torch_for_cpus_where_it_is_offered(locks: Locks) -> None:
    status, text = locks.install()
    assert status == 0, text
    assert (locks.version("locked_rest"), locks.version("torch")) == ("1.5", "2.13.0+cpu")
    assert locks.version("locked_ros") == "7.1"


def test_the_lock_takes_pypi_s_torch_where_there_is_no_other(locks: Locks) -> None:
    (locks.links / "torch-2.13.0+cpu-py3-none-any.whl").unlink()
    if load("install_lock").has_torch_for_cpus():
        locks.write("lock_cpu.txt", "torch==2.13.1+cpu --hash=sha256:" + "0" * 64)
    status, text = locks.install()
    assert status == 0, text
    assert "taking PyPI's" in text
    assert locks.version("torch") == "2.13.0"


@pytest.mark.parametrize("name", ["locked_rest-1.5", "locked_ros-7.1", "torch-2.13.0"])
def test_a_file_of_another_hash_is_not_installed(name: str, locks: Locks) -> None:
    (locks.links / "torch-2.13.0+cpu-py3-none-any.whl").unlink()
    with zipfile.ZipFile(locks.links / f"{name}-py3-none-any.whl", "a") as wheel:
        wheel.writestr("evil.pth", "import os")
    status, text = locks.install()
    assert status != 0
    assert "DO NOT MATCH THE HASHES" in text
    assert not (locks.target / f"{name.split('-')[0]}.py").exists()


def test_a_lock_has_the_hashes_of_what_pip_resolves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = write_wheel(tmp_path, "locked_rest", "1.5")
    lock = load("lock")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")  # this machine's settings do not count
    pins = lock.resolve("--no-index", "--find-links", str(tmp_path), "locked-rest>=1")
    assert list(map(str, pins)) == [f"locked-rest==1.5 --hash=sha256:{sha256}"]
    file = tmp_path / "lock.txt"
    file.write_text("# head\nformer==1.0\n")
    lock.write(file, pins)
    assert file.read_text() == f"# head\nlocked-rest==1.5 --hash=sha256:{sha256}\n"


def test_what_is_common_to_all_distributions_is_locked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, cpu, locks = (tmp_path / name for name in ("links", "cpu", "locks"))
    for folder in (links, cpu, locks):
        folder.mkdir()
    for name in ("torch", "common", "ros_old", "ros_new", "beside"):
        write_wheel(links, name, "2.0")
    write_wheel(links, "lerobot", "0.4.4")
    write_wheel(cpu, "torch", "2.0+cpu")
    (locks / "core.txt").write_text("torch\ncommon\n")
    (locks / "quantize.txt").write_text("beside\n")
    (locks / "lerobot_package.txt").write_text("beside\n")
    for distro in ("old", "new"):
        (locks / f"ros_{distro}.txt").write_text(f"ros_{distro}\n")
    of_kind = ("lock", "lock_cpu", "lock_cuda", "lock_sources", "lock_quantize", "lock_lerobot")
    names = (*of_kind, "lock_old", "lock_new")
    for name in names:
        (locks / f"{name}.txt").write_text("# head\n")
    lock = load("lock")
    resolve = lock.resolve

    def resolve_here(*arguments: str) -> list:
        return resolve(*arguments, "--no-index", "--find-links", str(links))

    monkeypatch.setattr(lock, "resolve", resolve_here)
    monkeypatch.setattr(sys, "argv", ["lock.py", str(locks), str(locks / "core.txt")])
    monkeypatch.setenv("PIP_FIND_LINKS", str(cpu))
    lock.main()
    pinned = {name: (locks / f"{name}.txt").read_text().splitlines() for name in names}
    assert {name: [line.split(" ")[0] for line in lines] for name, lines in pinned.items()} == {
        "lock": ["#", "common==2.0"],
        "lock_cpu": ["#", "torch==2.0+cpu"],
        "lock_cuda": ["#", "torch==2.0"],
        "lock_sources": ["#"],
        "lock_quantize": ["#", "beside==2.0"],
        "lock_lerobot": ["#", "beside==2.0", "lerobot==0.4.4"],
        "lock_old": ["#", "ros-old==2.0"],
        "lock_new": ["#", "ros-new==2.0"],
    }


def write_executable(
    path: Path, *, module: str, prefix: Path, interpreter: str = sys.executable
) -> None:
    """Write what CMake makes of tools/executable.in."""
    text = (TOOLS / "executable.in").read_text()
    for name, value in (
        ("Python3_EXECUTABLE", interpreter),
        ("MODULE", module),
        ("CMAKE_INSTALL_PREFIX", str(prefix)),
    ):
        text = text.replace(f"@{name}@", value)
    path.write_text(text)
    path.chmod(0o755)


def test_executable_runs_with_the_interpreter_of_the_build(tmp_path: Path) -> None:
    interpreter = tmp_path / "a space" / "python"
    interpreter.parent.mkdir()
    interpreter.write_text(f'#!/bin/sh\nBUILT_WITH="$0" exec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    (tmp_path / "some_node.py").write_text(
        "import os, sys\n"
        "def main():\n"
        "    print(os.environ['BUILT_WITH'], *sys.argv[1:])\n"
        "    return 3\n"
    )
    executable = tmp_path / "node"
    write_executable(executable, module="some_node", prefix=tmp_path, interpreter=str(interpreter))
    result = subprocess.run([executable, "a b", "c"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (3, "")
    assert result.stdout == f"{interpreter} a b c\n"


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("missing", ["mllmseg_ros", "rclpy"])
def test_an_executable_that_is_not_sourced_says_what_to_source(
    missing: str, shell: str, merged: bool, tmp_path: Path
) -> None:
    (tmp_path / "setup.bash").touch()
    write_executable(
        tmp_path / "node", module=missing, prefix=tmp_path if merged else tmp_path / "mllmseg_ros"
    )
    # -S: without the site-packages of the environment, where both are installed
    environment = {
        "PATH": os.environ["PATH"],
        "SHELL": f"/usr/bin/{shell}",
        "PYTHONNOUSERSITE": "1",
    }
    command = [sys.executable, "-S", tmp_path / "node"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        f"No module named '{missing}'; run this once in every terminal: "
        f"source {tmp_path}/setup.{shell}\n"
    )


def test_another_module_that_is_missing_is_another_error(tmp_path: Path) -> None:
    (tmp_path / "some_node.py").write_text("import no_such_package\n")
    write_executable(tmp_path / "node", module="some_node", prefix=tmp_path)
    result = subprocess.run([tmp_path / "node"], capture_output=True, text=True)
    assert "ModuleNotFoundError: No module named 'no_such_package'" in result.stderr
    assert "source" not in result.stderr.replace(str(tmp_path), "")


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_an_executable_s_threads_wait_without_a_busy_loop_unless_the_user_says_so(
    given: str | None, policy: str, tmp_path: Path
) -> None:
    code = "import os\nseen = os.environ['OMP_WAIT_POLICY']\ndef main():\n    print(seen)\n"
    (tmp_path / "some_node.py").write_text(code)  # seen: when torch would be imported
    write_executable(tmp_path / "node", module="some_node", prefix=tmp_path)
    environment = {name: each for name, each in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    result = subprocess.run([tmp_path / "node"], env=environment, capture_output=True, text=True)
    assert result.stdout == f"{policy}\n", result.stderr


def test_what_is_missing_is_named_and_nothing_is_installed_beside_a_sourced_ros() -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHON": "no-such-python", "ROS_DISTRO": "humble"}
    command = [str(TOOLS / "check_machine.sh"), "build"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "'no-such-python'" in result.stderr
    assert "PYTHON=/usr/bin/python3" in result.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("distro", "is_built"), [(None, True), ("jazzy", False)])
def test_the_message_of_tf_is_built_only_where_ros_is_not_sourced(
    distro: str | None, is_built: bool
) -> None:
    environment = {"PATH": os.environ["PATH"]} | ({"ROS_DISTRO": distro} if distro else {})
    command = ["make", "--dry-run", "--always-make", "build"]
    result = subprocess.run(
        command, cwd=TOOLS.parent, env=environment, capture_output=True, text=True
    )
    (line,) = re.findall(r"colcon build .*\n.*--cmake-args", result.stdout)
    assert ("--base-paths . tools/tf2_msgs" in line) == is_built, result.stderr
    assert "--base-paths ." in line
