"""What ``resnets predict`` loads: nothing that one answer does not need."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from resnets.checkpoint import seal
from resnets.config import Preprocess
from resnets.models import create_model

SLOW_TO_LOAD = ("torchvision", "torch._dynamo", "torch._inductor", "sympy", "rich.table", "onnx")
"""torchvision, and the compiler that torch loads when it is asked for certain small things."""

CODE = f"""
import sys
from resnets.cli import main
try:
    main()
finally:
    print("loaded:", *(name for name in {SLOW_TO_LOAD!r} if name in sys.modules))
"""


@pytest.mark.parametrize("name", ["resnet20", "densenet_bc_100_12"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predict_loads_neither_torchvision_nor_the_compiler(
    tmp_path: Path, name: str, precision: str
) -> None:
    card = {
        "architecture": name,
        "num_classes": 2,
        "label_names": ["left", "right"],
        "preprocess": Preprocess(input_size=(3, 32, 32)).to_dict(),
    }
    seal(tmp_path / "model", create_model(name, num_classes=2, seed=0).state_dict(), card)
    PIL.Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "photo.png")
    command = [sys.executable, "-c", CODE, "predict", "model", "photo.png"]
    done = subprocess.run(
        [*command, "--precision", precision],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer, loaded = done.stdout.splitlines()
    assert answer.startswith("photo.png")
    assert loaded == "loaded:"
