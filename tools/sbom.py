# SPDX-License-Identifier: Apache-2.0
"""Write a software bill of materials (CycloneDX, JSON) of this virtual environment and the model.

Entry point: ``python tools/sbom.py FILE``, or ``make sbom``.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "mllmseg_ros" / "assets" / "tabletop"


def installed() -> dict[str, Any]:
    """List the packages of the environment whose interpreter runs this, as a CycloneDX document."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment"]
    command += ["--output-format", "JSON", "--no-validate", sys.executable]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    document: dict[str, Any] = json.loads(listed.stdout)
    return document


def embedded_model() -> dict[str, Any]:
    """Describe the model that comes with the package, as a CycloneDX component."""
    name = json.loads((MODEL / "config.json").read_text())["mllmseg"]["name"]
    weights = MODEL / "model.safetensors"
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}",
        "name": name,
        "version": package()["version"],
        "description": "Trained on simulated tabletop scenes (mllmseg_ros/assets/tabletop)",
        "hashes": [{"alg": "SHA-256", "content": sha256}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "properties": [{"name": "file", "value": str(weights.relative_to(ROOT))}],
    }


def package() -> dict[str, Any]:
    """Describe this package, as a CycloneDX component."""
    version = ElementTree.parse(ROOT / "package.xml").getroot().findtext("version")
    return {
        "type": "application",
        "bom-ref": "mllmseg_ros",
        "name": "mllmseg_ros",
        "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def main() -> None:
    """Write the document to the path named on the command line."""
    document = installed()
    document["metadata"]["component"] = package()
    document["components"].append(embedded_model())
    path = Path(sys.argv[1])
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{path}: {len(document['components'])} components")


if __name__ == "__main__":
    main()
