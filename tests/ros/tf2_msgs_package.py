# SPDX-License-Identifier: Apache-2.0
"""Generate the TF message with colcon in a temporary folder if tf2_msgs is not installed.

Its definition is the interface itself, ``geometry_msgs/TransformStamped[] transforms``; what is
built is a real message package, for this process and for those that it starts.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_FILES = {
    "msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n",
    "package.xml": """<package format="3">
  <name>tf2_msgs</name>
  <version>0.0.0</version>
  <description>The one message of TF.</description>
  <maintainer email="mllmseg-ros@users.noreply.github.com">mllmseg_ros developers</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
""",
    "CMakeLists.txt": """cmake_minimum_required(VERSION 3.20)
project(tf2_msgs)
find_package(ament_cmake REQUIRED)
find_package(geometry_msgs REQUIRED)
find_package(rosidl_default_generators REQUIRED)
rosidl_generate_interfaces(tf2_msgs msg/TFMessage.msg DEPENDENCIES geometry_msgs)
ament_package()
""",
}


def build(folder: Path) -> Path | None:
    """Build the package and return its prefix; None if it is installed."""
    if importlib.util.find_spec("tf2_msgs") is not None:
        return None
    source = folder / "src" / "tf2_msgs"
    for name, text in _FILES.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tools = Path(sys.executable).parent
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    colcon = shutil.which("colcon", path=path)
    if colcon is None:
        pytest.skip("tf2_msgs is not installed, and without colcon it cannot be generated")
    prefixes = os.environ["AMENT_PREFIX_PATH"]
    command = [colcon, "build", "--merge-install", "--cmake-args", "-DBUILD_TESTING=OFF"]
    built = subprocess.run(
        [*command, f"-DPython3_EXECUTABLE={sys.executable}"],
        cwd=folder,
        env={**os.environ, "PATH": path, "CMAKE_PREFIX_PATH": prefixes},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "install"


def use(prefix: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package available to this process and its children."""
    if prefix is None:
        return
    packages = next(prefix.glob("lib/python3*/site-packages"))
    for name, folder in (
        ("AMENT_PREFIX_PATH", prefix),
        ("LD_LIBRARY_PATH", prefix / "lib"),
        ("PYTHONPATH", packages),
    ):
        monkeypatch.setenv(name, f"{folder}", prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(packages))
    # The loader read LD_LIBRARY_PATH at start; libraries that are loaded already are found.
    waiting = sorted(prefix.glob("lib/libtf2_msgs__*.so"))
    while waiting:
        left = []
        for library in waiting:
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            except OSError:  # depends on a later one
                left.append(library)
        assert len(left) < len(waiting), left
        waiting = left
