# SPDX-License-Identifier: Apache-2.0
"""Install the ROS-free core and the ``mllmseg`` command with pip; colcon reads CMakeLists.txt."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
EXTRAS = (
    "sim", "speech", "whisper", "voices", "train", "onnx", "quantize", "console", "mcp", "view",
    "recordings", "lerobot", "parquet", "ray", "docs", "test",
)  # fmt: skip


def requirements(name: str) -> list[str]:
    """Read requirements/<name>.txt without its comments."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name="mllmseg_ros",
    version=MANIFEST.findtext("version"),
    description="Referring-expression segmentation for robots: MLLMSeg on PyTorch, for ROS 2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    maintainer=MANIFEST.findtext("maintainer"),
    project_urls={url.get("type", "website"): url.text for url in MANIFEST.findall("url")},
    keywords=["ROS 2", "referring expression segmentation", "multimodal language model"],
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(
        include=["mllmseg_ros", "mllmseg_ros.*"], exclude=["mllmseg_ros.ros", "mllmseg_ros.ros.*"]
    ),
    package_data={
        "mllmseg_ros": ["py.typed", "assets/**/*", "train/recipes/*.yaml", "web/*page/*"]
    },
    install_requires=requirements("core"),
    # As in a ROS installation: the definitions are written into bags.
    data_files=[("share/mllmseg_ros/msg", sorted(map(str, Path("msg").glob("*.msg"))))],
    extras_require={name: requirements(name) for name in EXTRAS},
    entry_points={"console_scripts": ["mllmseg = mllmseg_ros.cli:main"]},
    # Not in the build folder of colcon.
    options={"build": {"build_base": "build/pip"}},
)
