"""What the documents show works: their commands run, in order, and both languages show the same."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
from resnets.errors import ConfigError
from resnets.exporting.web import find_runtime

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
SHORT = re.compile(r'--budget \S+|budget="\w+"')
"""A budget of minutes is no test: two epochs stand in for it."""


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(document: str, program: str) -> list[str]:
    lines = "\n".join(blocks(document, "sh")).splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.startswith(program + " ")]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder as the README's reader has it: two folders of photos, a new one, and weights."""
    rng = np.random.default_rng(0)
    for folder, label, low in (
        ("photos", "cat", 0),
        ("photos", "dog", 150),
        ("birds", "owl", 0),
        ("birds", "wren", 150),
    ):
        (tmp_path / folder / label).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(low, low + 100, (20, 24 + index % 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / label / f"{index}.jpg")
    theirs = resnets.create_model("resnet20", num_classes=2, seed=0).state_dict()
    torch.save({"state_dict": theirs}, tmp_path / "theirs.pt")
    (tmp_path / "classes.txt").write_text("owl\nwren\n", encoding="utf-8")
    (tmp_path / "new.jpg").write_bytes((tmp_path / "photos" / "dog" / "0.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_readme_run_in_order(desk):
    shown = commands("README.md", "resnets")
    steps = (
        "train evaluate predict report calibrate explain embed export predict serve export models "
        "describe describe verify train train import check"
    )
    assert [command.split()[1] for command in shown] == steps.split()
    for command in shown:
        words = shlex.split(SHORT.sub("--epochs 2", command))
        if words[1] == "serve":
            serve_until_it_says_so(words)
            continue
        if "web" in words and not runtime_is_there():
            continue  # `make web` brings it; test_web.py says so where it is skipped
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, cwd=desk
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def serve_until_it_says_so(words):
    """The command has no end of its own: Ctrl-C ends it once it has told where it is."""
    served = subprocess.Popen(
        [sys.executable, "-m", *words, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert served.stderr
    with served, served.stderr:
        assert any("http://127.0.0.1" in line for line in served.stderr)
        served.send_signal(signal.SIGINT)
        served.stderr.read()
    assert served.returncode == 130


def runtime_is_there():
    try:
        return bool(find_runtime())
    except ConfigError:
        return False


def test_the_python_of_the_readme_runs(desk):
    (example,) = blocks("README.md", "python")
    program = SHORT.sub("epochs=2", example)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=desk)
    assert done.returncode == 0, done.stderr
    assert "Prediction(label=" in done.stdout and "Headline(value=" in done.stdout


def test_both_languages_show_the_same_commands_code_and_output():
    for language in ("sh", "python", "text"):
        shown = [
            [re.sub(r"\s*#.*", "", block, flags=re.MULTILINE) for block in blocks(name, language)]
            for name in READMES
        ]
        assert shown[0] == shown[1], language


def test_the_figures_of_both_languages_are_the_same():
    numbers = [
        re.findall(r"\d+\.\d+", (ROOT / name).read_text(encoding="utf-8")) for name in READMES
    ]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("program", ["make"])
def test_the_make_targets_of_the_readme_exist(program):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands("README.md", program):
        assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE), command


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_environment_of_documents_is_this_checkout():
    assert os.path.samefile(ROOT / "src" / "resnets" / "__init__.py", resnets.__file__)
