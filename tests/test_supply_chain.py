"""What is installed is what was locked, byte for byte, and nothing of it calls home."""

import importlib.metadata
import json
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runs import save_folder

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements-lock.txt", "requirements-lock-dev.txt")
CUDA = ("nvidia-", "cuda-", "triton")
"""What torch wants of these differs: a build for CPUs wants none."""


def pins(name: str) -> dict[str, str]:
    """Package -> version, by pip's own grammar."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line.partition("--hash")[0])
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        found[canonicalize_name(requirement.name)] = specifier.version
    assert len(found) == len(lines), "no package twice"
    return found


CONSTRAINTS, RUNTIME, ALL = (pins(name) for name in ("constraints.txt", *LOCKS))


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_of_a_lock_is_that_of_the_constraints_and_has_a_hash(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for package, version in pins(name).items():
        assert CONSTRAINTS[package] == version, package
        assert re.search(rf"^{package}=={version} \\\n +--hash=sha256:[0-9a-f]{{64}}$", text, re.M)
    assert "://" not in text, "where packages come from is pip's configuration"


def test_the_locks_hold_all_that_is_needed() -> None:
    """Over requirements of requirements, as the installed packages state them."""
    for extra, lock in (("", RUNTIME), ("dev", ALL)):
        seen: set[tuple[str, str]] = set()
        open_ends = [("resnets", extra)]
        while open_ends:
            package, extra = open_ends.pop()
            for line in importlib.metadata.requires(package) or []:
                need = Requirement(line)
                if need.marker and not need.marker.evaluate({"extra": extra}):
                    continue
                name = canonicalize_name(need.name)
                ends = {(name, each) for each in need.extras or {""}} | {(name, "")}
                if name != "resnets" and sys.platform == "linux":
                    assert name in lock, f"{name}, which {package} needs"
                open_ends += ends - seen
                seen |= ends
    assert RUNTIME.items() <= ALL.items()


def test_the_tests_run_with_what_is_locked() -> None:
    for package, version in ALL.items():
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            assert package.startswith(CUDA), f"{package} is locked and not installed"
            continue
        assert installed.partition("+")[0] == version, package


def a_wheel(folder: Path) -> Path:
    """A wheel made here; its lock is made as ``tools/lock.py`` makes one."""
    folder.mkdir()
    path = folder / "locked-1.0-py3-none-any.whl"
    files = {
        "locked.py": "told = 'as locked'\n",
        "locked-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: locked\nVersion: 1.0\n",
        "locked-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        "locked-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def install(folder: Path, lock: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "pip", "--isolated", "install", "--no-index", "--quiet"]
    command += ["--no-cache-dir", "--find-links", str(folder), "--require-hashes"]
    command += ["-r", str(lock), "--target", str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_lock_installs_without_network_and_refuses_a_changed_byte(tmp_path: Path) -> None:
    wheel = a_wheel(tmp_path / "wheels")
    lock = tmp_path / "lock.txt"
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from lock import lock as written
    finally:
        sys.path.pop(0)
    digest = subprocess.run(
        [sys.executable, "-m", "pip", "hash", str(wheel)], capture_output=True, text=True
    ).stdout.split("sha256:")[1]
    told: dict[str, Any] = {
        "metadata": {"name": "Locked", "version": "1.0"},
        "download_info": {"archive_info": {"hashes": {"sha256": digest.strip()}}},
    }
    lock.write_text(written([told], lock.name, "a test"))
    done = install(wheel.parent, lock, tmp_path / "site")
    assert done.returncode == 0 and (tmp_path / "site" / "locked.py").exists(), done.stderr
    data = bytearray(wheel.read_bytes())
    data[data.index(b"as locked")] ^= 1
    wheel.write_bytes(data)
    done = install(wheel.parent, lock, tmp_path / "other")
    assert done.returncode and "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.network
def test_part_of_the_lock_is_downloaded_by_hash_and_installed_without_network(
    tmp_path: Path,
) -> None:
    part = ("safetensors", "rich", "markdown-it-py", "mdurl", "pygments")
    text = (ROOT / LOCKS[0]).read_text(encoding="utf-8")
    lines = [re.search(rf"^{name}==.* \\\n.*\n", text, re.M) for name in part]
    (tmp_path / "part.txt").write_text("".join(line[0] for line in lines if line))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
    command += ["--no-cache-dir", "-r", "part.txt", "-d", "wheels"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = install(tmp_path / "wheels", tmp_path / "part.txt", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert {"safetensors", "rich", "mdurl"} <= {path.name for path in (tmp_path / "site").iterdir()}


def test_the_bill_of_materials_lists_what_is_locked() -> None:
    command = [sys.executable, str(ROOT / "tools" / "sbom.py")]
    first, second = (subprocess.run(command, capture_output=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout
    told = json.loads(first.stdout)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    assert {each["name"]: each["version"] for each in told["components"]} == RUNTIME
    text = (ROOT / LOCKS[0]).read_text(encoding="utf-8")
    assert all(each["hashes"][0]["content"] in text for each in told["components"])


INTERNET = re.compile(r"sa_family=AF_INET6?, .*")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("offline") / "photos", 24, 16)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_training_scoring_and_predicting_connect_to_nothing(tmp_path: Path, photos: Path) -> None:
    """What any thread or child process sends or connects to, by the system's own account."""
    run = tmp_path / "run"
    image = next(photos.rglob("*.png"))
    train = [
        "train",
        photos,
        "--set",
        "steps=4",
        "-b",
        4,
        "--model",
        "resnet20",
        "-j",
        1,
        "--out",
        run,
    ]
    for arguments in (train, ["evaluate", run], ["predict", run, image]):
        log = tmp_path / "calls.txt"
        strace = ["strace", "-f", "--seccomp-bpf", "-o", str(log)]
        strace += ["-e", "trace=connect,sendto,sendmsg,sendmmsg"]
        command = [*strace, sys.executable, "-m", "resnets", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "exited with 0" in log.read_text(), "every process was watched"
        assert not INTERNET.findall(log.read_text()), arguments


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_connection_would_have_been_seen(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection({server.getsockname()[:2]})"
        log = tmp_path / "calls.txt"
        strace = ["strace", "-f", "--seccomp-bpf", "-o", str(log), "-e", "trace=connect"]
        subprocess.run([*strace, sys.executable, "-c", code], check=True)
    assert len(INTERNET.findall(log.read_text())) == 1
