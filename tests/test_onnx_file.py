"""ONNX files are read without trust: what could reach other files or foreign code is refused."""

import os

import numpy as np
import pytest

from resnets.engines.onnx_file import OnnxFile
from resnets.errors import ModelFileError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper = onnx.helper


def value(name):
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 2])


def weights(name="w"):
    return onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(2, 2), name)


def model(nodes=None, tensors=None, **more):
    nodes = nodes or [
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Add", ["c", "v"], ["d"]),
    ]
    tensors = [weights(), weights("v")] if tensors is None else tensors
    graph = helper.make_graph(
        nodes, "g", [value("a")], [value("d")], tensors, value_info=[value("b"), value("c")]
    )
    made = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)], **more
    )
    helper.set_model_props(made, {"label_names": '["Gänseblümchen"]'})
    return made


def read(made):
    return OnnxFile(made.SerializeToString(), where="model.onnx")


def run(data, **inputs):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize(("first", "last"), [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])
def test_a_cut_is_that_of_onnx_itself(first, last):
    made = model()
    expected = onnx.utils.Extractor(made).extract_model([first], [last])
    x = np.random.default_rng(0).normal(size=(2, 2)).astype(np.float32)
    cut = read(made).cut([first], [last])
    onnx.checker.check_model(onnx.load_from_string(cut), full_check=True)
    np.testing.assert_array_equal(
        run(cut, **{first: x}), run(expected.SerializeToString(), **{first: x})
    )
    kept = {tensor.name for tensor in onnx.load_from_string(cut).graph.initializer}
    assert kept == {tensor.name for tensor in expected.graph.initializer}


def test_what_a_file_tells_of_itself_is_read():
    assert read(model()).metadata == {"label_names": '["Gänseblümchen"]'}


def test_a_value_that_is_not_there_is_named():
    with pytest.raises(ModelFileError, match="'pixels'"):
        read(model()).cut(["a"], ["pixels"])


@pytest.mark.parametrize("way", ["..", "absolute", "symlink", "hardlink"])
def test_weights_in_other_files_are_refused(way, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    location = {"..": "../secret.bin", "absolute": str(secret)}.get(way, "weights.bin")
    if way == "symlink":
        (folder / "weights.bin").symlink_to(secret)
    elif way == "hardlink":
        os.link(secret, folder / "weights.bin")
    tensor = weights()
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    with pytest.raises(ModelFileError, match="in other files"):
        read(model(tensors=[tensor, weights("v")]))
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    with pytest.raises(ModelFileError, match="in other files"):
        read(model(nodes=[constant, helper.make_node("Add", ["a", "w"], ["d"])], tensors=[]))


def test_operations_that_are_not_onnx_s_own_are_refused():
    strange = helper.make_node("Run", ["a"], ["d"], domain="com.example")
    with pytest.raises(ModelFileError, match=r"'com\.example'"):
        read(model(nodes=[strange]))


def test_functions_and_graphs_within_the_graph_are_refused():
    function = helper.make_function(
        "f", "Own", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    with pytest.raises(ModelFileError, match="functions"):
        read(model(functions=[function]))
    inner = helper.make_graph([helper.make_node("Relu", ["a"], ["x"])], "i", [], [value("x")])
    branch = helper.make_node("If", ["a"], ["d"], then_branch=inner, else_branch=inner)
    with pytest.raises(ModelFileError, match="within its graph"):
        read(model(nodes=[branch]))


def test_a_damaged_file_is_one_kind_of_error():
    data = model().SerializeToString()
    refused = 0
    rng = np.random.default_rng(0)
    damaged = [data[:length] for length in range(len(data))]
    for _ in range(1000):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    for bad in damaged:
        try:
            OnnxFile(bad, where="model.onnx").cut(["a"], ["d"])
        except ModelFileError:
            refused += 1
    assert refused > len(data) * 0.9  # all others cut well: SHA256SUMS is what finds those
