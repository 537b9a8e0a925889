"""Print what an installation consists of, as a CycloneDX 1.6 bill of materials (ECMA-424).

    python tools/sbom.py > dist/sbom.json    # or `make sbom`

Versions and hashes are those of requirements-lock.txt, licences those that the installed
packages state. The same lock gives the same bytes: no time and no serial number is in it.
"""

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-lock.txt"
LINE = re.compile(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)


def bill(lock: str, name: str, version: str) -> dict[str, Any]:
    """The bill of a package and what its lock names."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(name, version) | {"type": "application"}},
        "components": [
            component(*pin) | {"hashes": [{"alg": "SHA-256", "content": digest}]}
            for *pin, digest in LINE.findall(lock)
        ],
    }


def component(name: str, version: str) -> dict[str, Any]:
    """A package by name, version, package URL and, where it states one, licence."""
    purl = f"pkg:pypi/{name}@{version}"
    described = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    try:
        stated = metadata.metadata(name)["License-Expression"]
    except metadata.PackageNotFoundError:
        stated = None
    return described | ({"licenses": [{"expression": stated}]} if stated else {})


if __name__ == "__main__":
    text = LOCK.read_text(encoding="utf-8")
    json.dump(bill(text, "resnets", metadata.version("resnets")), sys.stdout, indent=2)
    print()
