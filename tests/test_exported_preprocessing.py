"""The preprocessing in an exported graph is that of training, pixel for pixel."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.config import Preprocess
from resnets.data.transforms import preprocess_image
from resnets.engines import BATCH, IMAGE
from resnets.exporting.network import IR_VERSION, OPSET
from resnets.exporting.preprocessing import Nodes, add_preprocessing

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

LEVELS = 1e-3
"""How far a pixel may be off, of 255 levels."""
SIZES = [(1, 1), (24, 32), (23, 33), (48, 64), (375, 500), (7, 300), (301, 5), (600, 450), (10, 11)]
"""Height, width: smaller, equal, larger, hardly larger, and very long either way."""


def graph(preprocess, mean_image=None):
    nodes = Nodes("preprocessing")
    add_preprocessing(nodes, IMAGE, preprocess, mean_image, out=BATCH)
    value = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        nodes.nodes,
        "preprocessing",
        [value(IMAGE, onnx.TensorProto.UINT8, ["height", "width", 3])],
        [value(BATCH, onnx.TensorProto.FLOAT, [1, *preprocess.input_size])],
        nodes.constants,
    )
    model = onnx.helper.make_model(
        body, ir_version=IR_VERSION, opset_imports=[onnx.helper.make_opsetid("", OPSET)]
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def images(sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def worst(preprocess, mean_image, run, sizes=SIZES):
    """The largest difference from ``preprocess_image``, in levels."""
    tensor = None if mean_image is None else torch.from_numpy(mean_image)
    differences = [
        np.abs(run(image)[0] - preprocess_image(image, preprocess, tensor).numpy()).max()
        for image in images(sizes)
    ]
    return max(differences) * 255 * max(preprocess.std)


def settings(channels=3, **changes):
    given = {
        "input_size": (channels, 24, 32),
        "mean": (0.4, 0.5, 0.3)[:channels],
        "std": (0.2, 0.25, 0.3)[:channels],
    }
    return Preprocess(**(given | changes))


@pytest.mark.parametrize(
    ("interpolation", "crop_mode", "channels", "crop_pct"),
    list(itertools.product(("bilinear", "bicubic"), ("center", "squash"), (1, 3), (1.0, 0.875))),
)
def test_the_graph_does_what_training_does(interpolation, crop_mode, channels, crop_pct):
    preprocess = settings(
        channels, interpolation=interpolation, crop_mode=crop_mode, crop_pct=crop_pct
    )
    model = graph(preprocess)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    assert worst(preprocess, None, lambda image: session.run(None, {IMAGE: image})[0]) < LEVELS
    assert worst(preprocess, None, lambda image: compiled([image])[0]) < LEVELS


def test_onnx_s_own_definition_gives_the_same():
    from onnx.reference import ReferenceEvaluator

    preprocess = settings(interpolation="bicubic", crop_pct=0.9)
    evaluator = ReferenceEvaluator(graph(preprocess))

    def run(image):
        outputs = evaluator.run(None, {IMAGE: image})
        assert isinstance(outputs, list)
        return outputs[0]

    assert worst(preprocess, None, run, SIZES[:5]) < LEVELS


def test_a_mean_image_is_subtracted_in_the_graph():
    preprocess = settings(mean_image=True)
    mean_image = np.random.default_rng(1).normal(size=preprocess.input_size).astype(np.float32)
    session = onnxruntime.InferenceSession(
        graph(preprocess, mean_image), providers=["CPUExecutionProvider"]
    )
    run = lambda image: session.run(None, {IMAGE: image})[0]  # noqa: E731
    assert worst(preprocess, mean_image, run) < LEVELS


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_graph_s_resize_is_pillow_s_in_floats(interpolation):
    preprocess = Preprocess(input_size=(3, 30, 40), crop_mode="squash", interpolation=interpolation)
    session = onnxruntime.InferenceSession(graph(preprocess), providers=["CPUExecutionProvider"])
    kernel = Image.Resampling[interpolation.upper()]
    for image in images([(375, 500), (61, 59), (12, 17)]):
        ours = session.run(None, {IMAGE: image})[0][0] * 255
        for channel in range(3):
            plane = Image.fromarray(image[..., channel].astype(np.float32))
            pillow = np.asarray(plane.resize((40, 30), kernel)).clip(0, 255)
            np.testing.assert_allclose(ours[channel], pillow, atol=1e-3)
