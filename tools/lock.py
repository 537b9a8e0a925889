"""Write the locks: every wheel that pip would install with constraints.txt, and its SHA-256.

    python tools/lock.py    # or `make lock`, after a pin has moved

Hashes belong to files and so to one platform, Linux x86-64 with Python 3.11; constraints.txt
serves the others. Nothing is installed: pip resolves and reports. What the local configuration
of pip names as index is where it looks, and no index is named in the locks.
"""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = {
    "requirements-lock.txt": ("", "what the package needs"),
    "requirements-lock-dev.txt": ("[dev]", "that, all extras and the tools of the tests"),
}
"""File -> the extras it is for, and those in words."""
HEAD = """\
# Every wheel of {what}, by its hash; written by `make lock`.
# For Linux x86-64 and Python 3.11:
#   pip install --require-hashes --only-binary :all: -r {name}
#   pip install --no-deps --no-build-isolation .
"""


def report(extras: str) -> list[dict[str, Any]]:
    """What pip would install of this package with these extras, itself included."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--report", "-", "-c", "constraints.txt", f".{extras}"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)["install"]


def lock(installs: list[dict[str, Any]], name: str, what: str) -> str:
    """The text of one lock."""
    lines = []
    for each in installs:
        package, archive = each["metadata"], each["download_info"].get("archive_info")
        if archive:  # this package itself is a folder
            called = re.sub(r"[-_.]+", "-", package["name"]).lower()
            digest = archive["hashes"]["sha256"]
            lines.append(f"{called}=={package['version']} \\\n    --hash=sha256:{digest}\n")
    return HEAD.format(what=what, name=name) + "".join(sorted(lines))


def main() -> None:
    """Write both locks beside constraints.txt."""
    here = platform.system(), platform.machine(), sys.version_info[:2]
    if here != ("Linux", "x86_64", (3, 11)):
        sys.exit(f"the locks are of Linux x86-64 and Python 3.11; this is {here}")
    for name, (extras, what) in LOCKS.items():
        (ROOT / name).write_text(lock(report(extras), name, what), encoding="utf-8")


if __name__ == "__main__":
    main()
