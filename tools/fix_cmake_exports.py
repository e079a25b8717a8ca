# SPDX-License-Identifier: Apache-2.0
"""Make the CMake exports of the ROS 2 wheels name this virtual environment.

The wheels were built in a prefix of their own and their CMake files still say so; CMake then stops
with "includes non-existent path". This rewrites every such text file under share/ and lib/cmake/ of
the environment whose interpreter runs it. Running it again changes nothing.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

BUILD_PREFIX = b"/opt/python/cp311-cp311"


def fix_cmake_exports(prefix: Path) -> int:
    """Rewrite the build machine's prefix in all CMake files below a virtual environment.

    Args:
        prefix: root of the virtual environment that holds the wheels.

    Returns:
        Number of files that were changed.
    """
    paths = sysconfig.get_paths()
    # The order matters: the last prefix is the beginning of the other two.
    replacements = (
        (BUILD_PREFIX + b"/include/python3.11", paths["include"].encode()),
        (BUILD_PREFIX + b"/lib/python3.11/site-packages", paths["purelib"].encode()),
        (BUILD_PREFIX, str(prefix).encode()),
    )
    changed = 0
    for folder in (prefix / "share", prefix / "lib" / "cmake"):
        for path in folder.rglob("*"):
            if not path.is_file():
                continue
            before = path.read_bytes()
            after = before
            for old, new in replacements:
                after = after.replace(old, new)
            if after != before:
                path.write_bytes(after)
                changed += 1
    return changed


if __name__ == "__main__":
    print(f"{fix_cmake_exports(Path(sys.prefix))} CMake files of the ROS 2 wheels rewritten")
