"""Bring onnxruntime-web, which sites made by ``resnets export --format web`` contain.

    python tools/web.py    # or `make web`

npm fetches the pinned package from where it is configured to; nothing of it is run. The archive
is held against the integrity written here, its files against those in ``resnets.exporting.web``.
"""

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from resnets.exporting.web import PLACES, RUNTIME_FILES, RUNTIME_VERSION, find_runtime

INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""SHA-512 of the package, as lock files of npm write it."""


def fetch(folder: Path) -> Path:
    """The archive as npm brings it. Ends the program where it is another one."""
    name = f"onnxruntime-web@{RUNTIME_VERSION}"
    command = [
        "npm",
        "pack",
        name,
        "--ignore-scripts",
        "--silent",
        "--pack-destination",
        str(folder),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        sys.exit(f"{name} is not the package that was pinned: its SHA-512 is {found}")
    return archive


def main() -> None:
    """Put the files where the export looks for them."""
    target = PLACES[0]
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fetch(Path(folder))) as archive:
            for name in RUNTIME_FILES:
                member = archive.extractfile(f"package/dist/{name}")
                if member is None:
                    sys.exit(f"the package has no file {name}")
                target.mkdir(exist_ok=True)
                (target / name).write_bytes(member.read())
    find_runtime(target)
    print(f"onnxruntime-web {RUNTIME_VERSION}: {target}")


if __name__ == "__main__":
    main()
