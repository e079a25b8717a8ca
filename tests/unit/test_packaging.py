# SPDX-License-Identifier: Apache-2.0
"""The package's own promises: light imports, one version, one list of executables, safe text."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mllmseg_ros"

# What a message consumer, a web page or a simulated camera may import without paying for torch.
WITHOUT_TORCH = [
    "mllmseg_ros",
    "mllmseg_ros.frame",
    "mllmseg_ros.masks",
    "mllmseg_ros.model.tokenizer",
    "mllmseg_ros.model.prompt",
    "mllmseg_ros.language.command",
    "mllmseg_ros.language.conversation",
    "mllmseg_ros.doctor.machine",
    "mllmseg_ros.checkpoints.hub",
    "mllmseg_ros.checkpoints.integrity",
    "mllmseg_ros.geometry.localization",
    "mllmseg_ros.geometry.grasp",
    "mllmseg_ros.drawing.text",
    "mllmseg_ros.drawing.overlay",
    "mllmseg_ros.tracking.tracker",
    "mllmseg_ros.codecs.images",
    "mllmseg_ros.codecs.segmentations",
    "mllmseg_ros.recording.source",
    "mllmseg_ros.recording.folder",
    "mllmseg_ros.data.review",
    "mllmseg_ros.eval.metrics",
    "mllmseg_ros.web.guard",
    "mllmseg_ros.sim.scene",
    "mllmseg_ros.sim.expressions",
    "mllmseg_ros.sim.samples",
]
ROS_PACKAGES = {
    name.text
    for name in ElementTree.parse(ROOT / "package.xml").getroot()
    if name.tag in ("depend", "exec_depend") and not (name.text or "").startswith("python3-")
}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported_packages(path: Path) -> set[str]:
    """Top-level packages that a file imports, and our own message packages by their full name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {
        ".".join(name.split(".")[: 2 if name.startswith("mllmseg_ros") else 1]) for name in names
    }


def test_light_modules_do_not_import_torch() -> None:
    """At run time too; the contracts of `make lint` see what the text imports."""
    has_aiohttp = importlib.util.find_spec("aiohttp") is not None
    modules = [each for each in WITHOUT_TORCH if has_aiohttp or ".web." not in each]
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_only_the_ros_folder_imports_our_messages() -> None:
    """They are generated, so that the contracts of `make lint` do not see them."""
    generated = {"mllmseg_ros.msg", "mllmseg_ros.srv", "mllmseg_ros.action"}
    offenders = {
        str(path.relative_to(ROOT)): found
        for path in python_files()
        if PACKAGE / "ros" not in path.parents and (found := imported_packages(path) & generated)
    }
    assert offenders == {}


def test_ros_packages_that_are_imported_are_declared() -> None:
    """rosdep installs what package.xml names, and nothing else."""
    known = ROS_PACKAGES | {"rclpy"}
    suffixes = ("_msgs", "_srvs", "_interfaces", "_ros", "_bridge")
    imported = set().union(*(imported_packages(path) for path in python_files()))
    scripts = [*ROOT.glob("launch/*.py"), *ROOT.glob("examples/*.py")]
    imported |= set().union(*(imported_packages(path) for path in scripts))
    looks_like_ros = {
        name for name in imported if name.endswith(suffixes) and name != "mllmseg_ros"
    }
    assert looks_like_ros <= known


def test_the_package_root_imports_nothing_of_the_package() -> None:
    """Messages are imported through it. The interface generator installs an empty file there."""
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    imported = [each for each in body if isinstance(each, (ast.Import, ast.ImportFrom))]
    names = {
        getattr(each, "module", None) or alias.name for each in imported for alias in each.names
    }
    assert names <= {"__future__", "importlib", "typing"}
    build = (ROOT / "CMakeLists.txt").read_text()
    ours = build.index("install(DIRECTORY ${PROJECT_NAME}/")
    assert build.index("rosidl_generate_interfaces(") < ours  # so that this package's file stays


def test_no_python_folder_takes_the_place_of_generated_code() -> None:
    assert [name for name in ("msg", "srv", "action") if (PACKAGE / name).exists()] == []


def test_every_folder_with_python_is_a_package() -> None:
    """setup.py finds packages by their __init__.py; without it a folder would be left out."""
    folders = {path.parent for path in python_files()}
    assert [
        str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()
    ] == []


def test_package_xml_is_format_3_with_one_version() -> None:
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_cmake"
    version = manifest.findtext("version") or ""
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert 'MANIFEST.findtext("version")' in (ROOT / "setup.py").read_text()
    released = re.findall(
        r"^(\d+\.\d+\.\d+) \(", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE
    )
    assert released[:1] in ([], [version])
    cited = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == [version]


def test_every_executable_has_a_main() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    pairs = re.findall(r"^  (\w+):(mllmseg_ros[\w.]+)", cmake, re.MULTILINE)
    assert {"mllmseg_node", "sim_camera", "sim_robot", "demo_commander", "demo"} <= {
        name for name, _ in pairs
    }
    for name, module in pairs:
        path = ROOT.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        functions = [
            node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")
        ]
        assert "main" in functions, f"{name} starts {module}, which has no main()"


# Not those whose wheels are large and that few need: view (Rerun), ray.
_LOCKED = (
    "core",
    "sim",
    "console",
    "speech",
    "recordings",
    "train",
    "onnx",
    "mcp",
    "docs",
    "test",
    "lint",
    "sbom",
    "wheels",
)


@pytest.mark.parametrize("distro", ["jazzy", "kilted"])
def test_every_range_has_a_pin_in_the_lock(distro: str) -> None:
    def names(file: str) -> set[str]:
        lines = (ROOT / "requirements" / file).read_text().splitlines()
        return {
            re.split(r"[<>=\[]", line)[0].lower() for line in lines if line and line[0] not in "#"
        }

    pinned = names("lock.txt") | names("lock_sources.txt") | names(f"lock_{distro}.txt")
    asked = set().union(*(names(f"{name}.txt") for name in (*_LOCKED, f"ros_{distro}")))
    for torch in ("lock_cpu.txt", "lock_cuda.txt"):
        assert asked <= pinned | names(torch)
