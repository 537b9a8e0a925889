"""What all tests share: the same seeds, one torch thread, and where the real data is.

Tests that need data which is not part of the repository ask for it by a fixture and are
skipped with the reason where it is missing; the end of the run says how to get it.
"""

import atexit
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the original files."""

REMEDIES = {
    "RESNETS_DATA": "unpack CIFAR-10 and the flower photos as .ci/run does, and set RESNETS_DATA "
    "to the folder that holds cifar10/ and flowers/",
    "Chromium": "apt install chromium (Debian, Ubuntu)",
    "onnxruntime-web": "make web",
    "dataset-fashion-mnist": "apt install dataset-fashion-mnist (Debian, Ubuntu)",
}
"""What a skip's reason names -> how to have the test run."""

# One thread, in every process a test starts too: tests run side by side, one process per core,
# and sums come out in the same order everywhere.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
for variable in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):  # typer would colour a pipe
    os.environ.pop(variable, None)

# What the package keeps in the user's cache is kept for one test run, by all its processes.
if "RESNETS_TEST_CACHE" not in os.environ:
    os.environ["RESNETS_TEST_CACHE"] = tempfile.mkdtemp(prefix="resnets-cache-")
    atexit.register(shutil.rmtree, os.environ["RESNETS_TEST_CACHE"], ignore_errors=True)
os.environ["XDG_CACHE_HOME"] = os.environ["RESNETS_TEST_CACHE"]

# Examples are the same every time, and a busy machine is no failure.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """Seed what a test may draw from, and undo what it set in torch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    dtype, deterministic = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("cifar10")``: that folder under RESNETS_DATA, or the test is skipped."""

    def find(name: str) -> Path:
        root = os.environ.get("RESNETS_DATA")
        if not root:
            pytest.skip(f"needs real data: RESNETS_DATA is not set ({name})")
        folder = Path(root) / name
        if not folder.is_dir():
            pytest.skip(f"needs real data: RESNETS_DATA has no folder {name}")
        return folder

    return find


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of the original Fashion-MNIST files, or the test is skipped."""
    if not FASHION_MNIST.is_dir():
        pytest.skip("needs the Debian package dataset-fashion-mnist")
    return FASHION_MNIST


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked ``gpu`` is skipped, with the reason, where torch sees none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU that torch can use"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped for want of data, and how to get it."""
    skipped = terminalreporter.stats.get("skipped", [])
    for name, remedy in REMEDIES.items():
        tests = sorted(report.nodeid for report in skipped if name in str(report.longrepr))
        if tests:
            terminalreporter.section(f"{len(tests)} skipped without {name}")
            terminalreporter.line("\n".join(tests))
            terminalreporter.line(f"to run them: {remedy}")
