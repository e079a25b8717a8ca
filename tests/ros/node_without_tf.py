# SPDX-License-Identifier: Apache-2.0
"""The node as if neither tf2_ros nor tf2_msgs were installed; run as a script."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from mllmseg_ros.ros.node.segmenter_node import main


class WithoutTf(PathFinder):
    """Finds all other modules."""

    @classmethod
    def find_spec(cls, fullname: str, *arguments: Any, **keywords: Any) -> ModuleSpec | None:
        if fullname.split(".")[0] in ("tf2_msgs", "tf2_ros"):
            return None
        return super().find_spec(fullname, *arguments, **keywords)


if __name__ == "__main__":
    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTf
    sys.exit(main())
