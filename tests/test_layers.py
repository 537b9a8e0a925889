"""Imports point one way: a part uses the lines above its own, never its own or below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import resnets

LAYERS = [
    ["errors"],
    ["config", "metrics", "console", "machine", "sealing"],
    ["decoding", "pages"],
    ["data", "models"],  # neither knows the other
    ["cost", "checkpoint"],
    ["engines"],
    ["evaluation", "verification", "explanation", "description"],
    ["prediction", "diagram"],
    ["report", "exporting", "importing", "checking", "calibrating"],
    ["training", "serving"],
    ["experiments", "benchmarking"],
    ["cli"],
    ["__init__", "__main__"],
]
DEPTH = {part: depth for depth, parts in enumerate(LAYERS) for part in parts}
ROOT = Path(resnets.__file__).parent

HEAVY = ("torch", "torchvision", "numpy", "PIL", "rich", "safetensors")
"""What `resnets --help` does not need and would have to wait for."""
WITHOUT_TORCH = [
    *("cli", "config", "console", "decoding", "errors", "evaluation", "machine", "metrics"),
    *("prediction", "sealing", "serving.server"),
]


def imported_parts(source: str) -> set[str]:
    """The parts of resnets that a file imports, at the top or inside its functions.

    A name taken from the front page (``from resnets import load``) counts as ``__init__``; only
    ``__version__`` may be, which is there before anything is resolved.
    """
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "resnets":
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            modules += [f"resnets.{name if name in DEPTH else '__init__'}" for name in names]
        elif isinstance(node, ast.ImportFrom):
            modules.append(node.module or "")
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    split = [module.split(".") for module in modules]
    return {(path + ["__init__"])[1] for path in split if path[0] == "resnets"}


def part_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def loaded_after(code: str, *names: str) -> set[str]:
    """Which of ``names`` a fresh interpreter has loaded after running ``code``."""
    report = f"\nimport sys\nprint('loaded:', *(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())


def test_every_part_has_its_place() -> None:
    parts = {part_of(file) for file in ROOT.rglob("*.py")}
    assert not parts - DEPTH.keys(), "decide where it belongs, and add it to LAYERS"


@pytest.mark.parametrize("part", DEPTH)
def test_imports_point_one_way(part: str) -> None:
    for file in ROOT.rglob("*.py"):
        if part_of(file) == part:
            for used in imported_parts(file.read_text(encoding="utf-8")) - {part}:
                assert DEPTH[used] < DEPTH[part], f"{file.name} must not import resnets.{used}"


def test_imports_inside_functions_and_of_the_front_page_are_seen() -> None:
    source = """
import os, resnets.metrics
from resnets import __version__, cli, load
def late():
    from resnets.data.transforms import normalise
"""
    assert imported_parts(source) == {"metrics", "cli", "__init__", "data"}


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_parts_that_answer_at_once_do_not_import_torch(part: str) -> None:
    assert not loaded_after(f"import resnets.{part}", "torch", "torchvision")


def test_the_command_line_starts_without_anything_heavy() -> None:
    assert not loaded_after("import resnets.cli", *HEAVY)


def test_help_does_not_wait_for_torch() -> None:
    code = """
import contextlib, io, sys
from resnets.cli import main
sys.argv = ["resnets", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as answer, contextlib.suppress(SystemExit):
    main()
assert "train" in answer.getvalue()
"""
    assert not loaded_after(code, "torch", "torchvision", "numpy")
