# SPDX-License-Identifier: Apache-2.0
"""What config/mllmseg.policy.xml allows a node."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

POLICY = Path(__file__).resolve().parents[2] / "config" / "mllmseg.policy.xml"


def allowed(node: str, kind: str, right: str) -> set[str]:
    """Fully qualified names: ``kind`` topics, services or actions, ``right`` such as publish."""
    profiles = ElementTree.parse(POLICY).getroot().iter("profile")
    (profile,) = [each for each in profiles if each.get("node") == node]
    names = {
        (name.text or "").replace("~", f"/{node}")
        for group in profile
        if group.tag == kind and group.get(right) == "ALLOW"
        for name in group
    }
    return {name if name.startswith("/") else f"/{name}" for name in names}
