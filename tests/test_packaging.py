"""What is handed out: the wheel, the pins it is tested with, and the make targets."""

import hashlib
import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS: dict[str, str] = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
}
DEPENDENCIES = [
    Requirement(line)
    for line in (
        *PROJECT["project"]["dependencies"],
        *itertools.chain(*PROJECT["project"]["optional-dependencies"].values()),
        *PROJECT["build-system"]["requires"],
    )
    if not line.startswith("resnets[")  # the extras that `dev` is made of
]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def build_wheel(checkout: Path, *, umask: int, mtime: int, **environment: str) -> Path:
    """Build the wheel from a copy of the sources with other modes, dates and surroundings."""
    for name in ("src", "pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():  # a source distribution has no .gitignore
            checkout.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, checkout / name)
    for path in checkout.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
        os.utime(path, (mtime, mtime))
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel"]
    done = run(*command, cwd=checkout, **environment)
    assert done.returncode == 0, done.stderr
    (wheel,) = (checkout / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("one") / "resnets", umask=0o022, mtime=1_700_000_000)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, which is all that installing it does."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # PYTHONPATH comes before the checkout that an editable install puts on the path, and -P
    # leaves the current folder out of it.
    return run(
        sys.executable, "-P", *arguments,
        cwd=cwd, PYTHONPATH=str(installed), PYTHONNOUSERSITE="1",
    )  # fmt: skip


def test_two_builds_of_one_commit_are_byte_equal(wheel: Path, tmp_path: Path) -> None:
    again = build_wheel(
        tmp_path / "elsewhere" / "a longer name", umask=0o077, mtime=1_000_000_000,
        TZ="Asia/Kathmandu", LC_ALL="C", PYTHONHASHSEED="7",
    )  # fmt: skip
    assert again.name == wheel.name
    first, second = (hashlib.sha256(file.read_bytes()).hexdigest() for file in (wheel, again))
    assert first == second


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    assert {name.partition("/")[0] for name in names} == {"resnets", info}
    assert "resnets/py.typed" in names
    assert any(name.startswith(f"{info}/licenses/") for name in names)
    assert not [name for name in names if name.endswith(".pyc")]
    assert {"resnets/serving/page/page.js", "resnets/exporting/site/local.js"} <= {*names}
    assert not [name for name in names if name.endswith(".wasm")], "see docs/decisions/0017-web.md"


def test_the_wheel_brings_the_whole_bundled_sample(wheel: Path) -> None:
    folder = ROOT / "src/resnets/data/sample"
    with zipfile.ZipFile(wheel) as archive:
        inside = {
            name.removeprefix("resnets/data/sample/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("resnets/data/sample/")
        }
    files = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files, "the sample is part of the package"
    assert inside == files


def test_the_installed_wheel_works_without_the_repository(installed: Path, tmp_path: Path) -> None:
    code = """
import sys, resnets
from resnets.data import open_dataset
print(type(resnets.create_model("resnet20")).__name__, len(open_dataset("sample").splits["test"]))
print(*(m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "resnets"), sep="\\n")
"""
    done = run_installed(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    answer, *files = done.stdout.splitlines()
    assert int(answer.split()[1]) > 0
    assert all(Path(file).is_relative_to(installed) for file in files)


def test_the_installed_wheel_tells_its_version(
    installed: Path, wheel: Path, tmp_path: Path
) -> None:
    done = run_installed(installed, tmp_path, "-m", "resnets", "--version")
    assert done.returncode == 0, done.stderr
    assert wheel.name.split("-")[1] in done.stdout


@pytest.mark.parametrize("dependency", DEPENDENCIES, ids=str)
def test_every_dependency_is_pinned_inside_its_range(dependency: Requirement) -> None:
    assert PINS[canonicalize_name(dependency.name)] in dependency.specifier


def test_the_pins_fit_every_platform() -> None:
    """Those of CUDA are pinned too, and bind nobody else: torch wants them on Linux only."""
    needs = map(Requirement, importlib.metadata.requires("torch") or [])
    for need in (need for need in needs if need.name.startswith(("nvidia", "cuda", "triton"))):
        assert need.marker is not None
        for system in ("Darwin", "Windows"):
            assert not need.marker.evaluate({"platform_system": system, "extra": ""}), need


def test_hooks_and_tests_use_the_same_ruff() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"ruff==([\d.]+)", hooks)) == {PINS["ruff"]}


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@needs_make
def test_make_alone_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    listed = re.findall(r"^  make (\S+) +\S", run("make", cwd=ROOT).stdout, re.MULTILINE)
    assert listed == targets.split()


@needs_make
def test_make_refuses_an_old_python_and_names_the_way_on(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    done = run("make", "demo", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", cwd=ROOT)
    assert done.returncode == 2
    assert "Python 3.11 or newer" in done.stderr and "Python 3.9.2" in done.stderr
    assert "fix: make demo PYTHON=python3.12" in done.stderr
    assert not (tmp_path / "venv").exists()
