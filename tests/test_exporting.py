"""``resnets export``: what is kept answers as the model it is of, and says so."""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from resnets.checking import check
from resnets.checkpoint import read_sealed, seal
from resnets.errors import ConfigError, DataError, MissingExtra, ModelFileError
from resnets.exporting import Form, GateFailed, Precision, export_model
from resnets.exporting.forms import write_form
from resnets.exporting.proof import find_failure, prove
from resnets.models import create_model
from resnets.prediction import Classifier, load
from resnets.prediction.classifier import evaluate_together
from resnets.prediction.exports import exports_folder, source_of
from resnets.sealing import sums_of
from runs import fit, save_folder
from test_layers import loaded_after

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

WRITING = "resnets.exporting.exporting.write_form"
FORMS: list[tuple[Form, Precision]] = [
    ("onnx", "fp32"),
    ("onnx", "bf16"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("safetensors", "fp32"),
    ("safetensors", "bf16"),
]


@pytest.fixture(scope="module", autouse=True)
def quick_timing():
    """Speeds are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resnets.exporting.proof.SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exporting")
    save_folder(folder / "data", 160, 20, odd=True)
    settings = {"epochs": 6, "image_size": 16, "batch_size": 16}
    fit(folder / "data", model="resnet20", out=folder / "run", flip=False, **settings)
    return folder / "run"


@pytest.fixture(scope="module")
def exports(run):
    """Every form, each lossy one let through: the network is small and tired."""
    return {
        (form, precision): export_model(run, form, precision, max_drop=100)
        for form, precision in FORMS
    }


def photos(run):
    return sorted((run.parent / "data" / "test").rglob("*.png"))


def probabilities(classifier, files):
    ranked = classifier.predict(files, top=2)
    return np.array([[{p.label: p.probability for p in row}[label] for label in classifier.classes]
                     for row in ranked])  # fmt: skip


@pytest.mark.parametrize(("form", "precision"), FORMS)
def test_every_form_answers_as_pytorch(form, precision, run, exports):
    files = photos(run)
    expected = probabilities(load(run), files)
    found = probabilities(load(exports[form, precision].path), files)
    tolerance = {"fp32": 1e-4, "bf16": 0.03, "int8": 0.25}[precision]
    assert np.abs(found - expected).max() < tolerance
    if precision == "fp32":
        assert (found.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize(("form", "precision"), FORMS)
def test_the_folder_holds_the_model_its_card_and_their_sums(form, precision, exports):
    folder = exports[form, precision].path
    assert folder.name == f"{form}-{precision}" and folder.parent.name == "export"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    sums = files.pop("SHA256SUMS").decode()
    assert sums.split() == [
        word
        for name, data in sorted(files.items())
        for word in (hashlib.sha256(data).hexdigest(), name)
    ]
    card = json.loads(files["model.json"])
    assert card["label_names"] == ["left", "right"] and card["preprocess"]["input_size"][1] == 16
    assert {"temperature", "threshold"} <= card.keys()
    assert card["export"]["proof"]["n"] > 0


def test_another_program_needs_nothing_but_the_file(run, exports, tmp_path, monkeypatch, capsys):
    """The program of docs/exporting.md, as it stands there."""
    page = (Path(__file__).parents[1] / "docs" / "exporting.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    shutil.copy(exports["onnx", "fp32"].path / "model.onnx", tmp_path)
    shutil.copy(photos(run)[0], tmp_path / "new.jpg")  # Pillow goes by the content
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    label, probability = capsys.readouterr().out.split()
    best = load(run).predict(photos(run)[0])[0]
    assert label == best.label
    assert float(probability) == pytest.approx(best.probability, abs=1e-4)


def test_files_tell_names_preprocessing_and_calibration(exports):
    import onnx
    import openvino

    made = onnx.load(exports["onnx", "int8"].path / "model.onnx")
    told = {entry.key: entry.value for entry in made.metadata_props}
    model = openvino.Core().read_model(exports["openvino", "int8"].path / "model.xml")
    for name in ("label_names", "preprocess", "temperature", "threshold"):
        assert model.get_rt_info(["resnets", name]).astype(str) == told[name]
    card = json.loads((exports["onnx", "int8"].path / "model.json").read_bytes())
    assert json.loads(told["preprocess"]) == card["preprocess"]
    assert told["precision"] == "int8"
    assert made.opset_import[0].version <= 18 and len(made.opset_import) == 1
    assert any(node.op_type == "QuantizeLinear" for node in made.graph.node)


def test_a_file_alone_answers_and_is_called_unverified(run, exports, tmp_path):
    image = photos(run)[0]
    for form, files in (("onnx", ["model.onnx"]), ("openvino", ["model.xml", "model.bin"])):
        for name in files:
            shutil.copy(exports[form, "bf16"].path / name, tmp_path)
        alone = load(tmp_path / files[0])
        assert "unverified" in alone.notes[0]
        whole = load(exports[form, "bf16"].path)
        assert whole.notes == () and alone.predict(image) == whole.predict(image)


def test_a_file_of_another_program_is_refused(tmp_path):
    import onnx

    node = onnx.helper.make_node("Relu", ["a"], ["b"])
    value = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "ab"]
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(ModelFileError, match="does not say what its answers mean"):
        load(tmp_path / "other.onnx")
    (tmp_path / "no.xml").write_text("<net/>")
    (tmp_path / "no.bin").write_bytes(b"")
    with pytest.raises(ModelFileError):
        load(tmp_path / "no.xml")


@pytest.mark.parametrize("form", ["onnx", "openvino", "safetensors"])
def test_a_tampered_export_is_refused(form, exports, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exports[form, "fp32"].path, folder)
    weights = folder / {"openvino": "model.bin"}.get(form, f"model.{form}")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelFileError, match="SHA-256"):
        load(folder)
    assert [part.whole for part in check(folder)] == [False]


def test_a_file_whose_names_do_not_fit_its_outputs_is_refused(run, exports, tmp_path):
    import onnx

    made = onnx.load(exports["onnx", "fp32"].path / "model.onnx")
    for entry in made.metadata_props:
        if entry.key == "label_names":
            entry.value = '["one"]'
    onnx.save(made, tmp_path / "alone.onnx")
    with pytest.raises(ModelFileError, match="2 probabilities for 1 classes"):
        load(tmp_path / "alone.onnx").predict(photos(run)[0])
    made.graph.initializer[0].dims[0] += 1
    onnx.save(made, tmp_path / "torn.onnx")
    with pytest.raises(ModelFileError, match="ONNX Runtime"):
        load(tmp_path / "torn.onnx").predict(photos(run)[0])


def test_a_tampered_card_is_refused(exports, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exports["onnx", "fp32"].path, folder)
    card = (folder / "model.json").read_text()
    (folder / "model.json").write_text(card.replace('"left"', '"cat"'))
    with pytest.raises(ModelFileError, match=r"model\.json is damaged"):
        load(folder)


def test_check_looks_at_the_exports_of_a_run(run, exports):
    found = [part for part in check(run) if part.what == "export"]
    assert len(found) == len(FORMS) and all(part.whole for part in found)


def test_predict_with_an_export_does_not_import_torch(run, exports):
    code = f"""
import sys
from resnets.cli import main
sys.argv = ["resnets", "predict", {str(exports["onnx", "fp32"].path / "model.onnx")!r}, {str(photos(run)[0])!r}, {str(photos(run)[1])!r}]
try: main()
except SystemExit as end: assert not end.code
"""  # noqa: E501
    assert not loaded_after(code, "torch", "torchvision", "onnx", "safetensors")


def test_exports_are_evaluated_on_the_run_s_own_images(run, exports):
    expected, found = load(run).evaluate(), load(exports["onnx", "fp32"].path).evaluate()
    assert found.n == expected.n and found.accuracy == expected.accuracy
    assert found.log_loss.value == pytest.approx(expected.log_loss.value, abs=1e-4)


def test_auto_takes_the_fastest_and_says_which(run, exports, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for (form, precision), _ in exports.items():
        faster = 3.0 if (form, precision) == ("openvino", "bf16") else 2.0
        edit_card(copy / "export" / f"{form}-{precision}", ("proof", "times_pytorch"), faster)
    chosen = load(copy, engine="auto")
    assert chosen.engine.runtime == "openvino" and "bf16: 3.0 times" in chosen.notes[0]  # type: ignore[union-attr]
    assert load(copy, engine="onnxruntime").engine.runtime == "onnxruntime"  # type: ignore[union-attr]
    assert load(copy).network is not None
    edit_card(copy / "export" / "openvino-bf16", ("source",), "0" * 64)
    again = load(copy, engine="auto")
    assert any("earlier model" in note for note in again.notes)
    assert "openvino-bf16)" not in again.notes[-1]


def edit_card(folder, keys, value):
    """Change an export's card, and its sums with it."""
    card = json.loads((folder / "model.json").read_bytes())
    place = card["export"]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "model.json").write_text(json.dumps(card))
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "SHA256SUMS"}
    (folder / "SHA256SUMS").write_bytes(sums_of(files))


def test_auto_without_exports_is_pytorch(run, tmp_path):
    shutil.copytree(run / "model", tmp_path / "run" / "model")
    chosen = load(tmp_path / "run", engine="auto")
    assert chosen.network is not None and "no export" in chosen.notes[0]
    with pytest.raises(ConfigError, match="no export that onnxruntime runs"):
        load(tmp_path / "run", engine="onnxruntime")


def test_what_an_export_cannot_do_is_said(run, exports):
    folder = exports["onnx", "fp32"].path
    for settings in ({"tta": "flip"}, {"device": "cuda"}, {"precision": "bf16"}):
        with pytest.raises(ConfigError, match="answers on the CPU"):
            load(folder, **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot be looked into"):
        load(folder).explain(photos(run)[0])
    with pytest.raises(ConfigError, match="openvino cannot run the safetensors"):
        load(exports["safetensors", "fp32"].path, engine="openvino")
    with pytest.raises(ConfigError, match="answers wrongly"):
        load(exports["onnx", "int8"].path, engine="openvino")
    assert "may answer otherwise" in load(folder, engine="openvino").notes[0]


def test_auto_leaves_what_exports_cannot_do_to_pytorch(run, exports):
    for settings in ({"tta": "flip"}, {"precision": "bf16"}):
        chosen = load(run, engine="auto", **settings)  # type: ignore[arg-type]
        assert chosen.network is not None and "engine pytorch" in chosen.notes[0]


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_a_run_that_is_not_there_is_named_whatever_shall_run_it(engine, tmp_path):
    with pytest.raises((ModelFileError, ConfigError), match="typo"):
        load(tmp_path / "typo", engine=engine)


def test_paths_without_a_name_of_their_own_do_as_well(run, exports, tmp_path, monkeypatch):
    monkeypatch.chdir(run / "model")
    assert load(".").classes == load(run).classes
    assert exports_folder(Path(".")) == run.resolve() / "export"
    monkeypatch.chdir(run / "export")
    there = load("onnx-fp32").evaluate()
    assert there.n == load(run).evaluate().n
    monkeypatch.chdir(run / "export" / "onnx-fp32")
    for name in (".", "model.onnx"):
        assert load(name).evaluate().n == there.n


def test_a_folded_model_is_also_opened_by_its_file(run, exports):
    file = exports["safetensors", "fp32"].path / "model.safetensors"
    assert load(file).predict(photos(run)[0]) == load(file.parent).predict(photos(run)[0])


def test_exports_that_answer_together_are_told_apart(run, exports):
    models = [load(exports[form, "fp32"].path) for form in ("onnx", "openvino")]
    (note,) = [note for note in evaluate_together(models).notes if "alone" in note]
    assert "run/onnx-fp32" in note and "run/openvino-fp32" in note


# What must not be kept.


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def scrambled(written):
    """``write_form`` whose network's weights are then another's."""

    def write(classifier, *how):
        other = create_model("resnet20", num_classes=2, seed=5)
        state = {name: t.clone() for name, t in classifier.model.state_dict().items()}
        stranger = {
            name: t if t.ndim < 2 else other.state_dict()[name] for name, t in state.items()
        }
        classifier.model.load_state_dict(stranger)
        try:
            return written(classifier, *how)
        finally:
            classifier.model.load_state_dict(state)

    return write


@pytest.mark.parametrize(("form", "precision"), [("onnx", "fp32"), ("openvino", "bf16")])
def test_an_export_that_answers_otherwise_is_not_kept(form, precision, run, exports, monkeypatch):
    before = contents(exports[form, precision].path)
    monkeypatch.setattr(WRITING, scrambled(write_form))
    with pytest.raises(GateFailed, match="not exported") as failed:
        export_model(run, form, precision, max_drop=0)
    assert failed.value.exit_code == 1 and failed.value.proof.failure
    assert contents(exports[form, precision].path) == before
    assert not list(exports[form, precision].path.parent.glob("*.new"))


def test_int8_with_ranges_of_other_images_fails_the_gate(run, exports, monkeypatch):
    """Ranges taken from black images clamp everything that a real one shows."""
    from resnets.exporting.quantising import typical

    before = contents(exports["onnx", "int8"].path)

    def black(network, images, at_once):
        return typical(network, 0 * images, at_once)

    monkeypatch.setattr("resnets.exporting.forms.typical", black)
    with pytest.raises(GateFailed):
        export_model(run, "onnx", "int8", max_drop=0.5)
    assert contents(exports["onnx", "int8"].path) == before


def test_the_gate_is_the_larger_of_the_drop_and_one_image():
    labels = np.arange(40) % 2
    expected = np.eye(2)[labels] * 0.8 + 0.1
    for wrong, failure in ((0, False), (1, False), (2, True)):
        found = expected.copy()
        found[:wrong] = found[:wrong, ::-1]
        allowed = max(0.005, 1 / 40)
        why = find_failure(found, expected, labels, exact=False, allowed=allowed)
        assert bool(why) is failure
        exact = find_failure(found, expected, labels, exact=True, allowed=allowed)
        assert bool(exact) is (wrong > 0)
    close = expected + np.array([2e-4, -2e-4])
    assert "0.0002" in str(find_failure(close, expected, labels, exact=True, allowed=1))
    assert find_failure(expected * np.nan, expected, labels, exact=False, allowed=1)


def test_every_way_of_running_has_to_pass():
    labels = np.arange(10) % 2
    expected = np.eye(2)[labels]
    measured = {
        "split": "val", "data": "d", "size": (1, 1), "milliseconds": (1.0, 1.0),
        "images_per_second": (1.0, 2.0),
    }  # fmt: skip
    ways = {"in batches": expected, "image by image": expected[:, ::-1]}
    names = [f"{index}.png" for index in range(10)]
    proof = prove(ways, expected, labels, names, "ab", exact=False, max_drop=0.5, **measured)
    assert "image by image" in str(proof.failure) and proof.weak and not proof.changed
    turned = {"in batches": np.vstack([expected[:1, ::-1], expected[1:]])}
    proof = prove(turned, expected, labels, names, "ab", exact=False, max_drop=0.5, **measured)
    assert [(c.name, c.before, c.after) for c in proof.changed] == [("0.png", "a", "b")]
    assert proof.failure is None and proof.interval[0] < -0.1 < proof.interval[1]


def test_typical_images_are_those_that_drive_no_map_far():
    from resnets.exporting.quantising import typical

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 2, 3))
    images = torch.rand(40, 3, 8, 8)
    images[[3, 17]] *= 1000
    kept = typical(network, images, 16)
    assert len(kept) == 36 and kept.abs().max() <= 1


# Mistakes in what was asked.


def test_mistakes_are_named_with_their_fix(run, exports, tmp_path):
    def refused(kind, match, *how, **more):
        with pytest.raises(kind, match=match) as error:
            export_model(*how, **more)
        return error.value.fix

    assert "onnx" in refused(ConfigError, "no format 'onx'", run, "onx")
    refused(ConfigError, "no precision 'int4'", run, "onnx", "int4")
    refused(ConfigError, "has no int8", run, "safetensors", "int8")
    refused(ConfigError, "max_drop", run, max_drop=-1)
    refused(ConfigError, "is an export already", exports["onnx", "fp32"].path)
    refused(ModelFileError, "no model or run", tmp_path / "nothing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    refused(ConfigError, "is no export", run, out=tmp_path / "full")
    only_train = tmp_path / "only"
    shutil.copytree(run.parent / "data" / "train", only_train / "train")
    refused(DataError, "neither val nor test", run, data=only_train)


def test_nothing_of_somebody_s_is_taken_away(run, tmp_path, monkeypatch):
    out = tmp_path / "site"
    export_model(run, "safetensors", out=out)
    export_model(run, "safetensors", out=out)  # over itself

    def refused(match, out):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ConfigError, match=match):
            export_model(run, "safetensors", out=out)
        assert sorted(tmp_path.rglob("*")) == before

    (out / "CNAME").touch()
    refused(r"holds an export and CNAME", out)
    (out / "CNAME").unlink()
    for ending in (".old", ".new"):
        beside = tmp_path / f"site{ending}"
        shutil.copytree(out, beside)
        refused(f"site{ending} would be removed", out)
        shutil.rmtree(beside)
    refused("the name of a file", tmp_path / "model.onnx")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    refused("the folder you are in", ".")


def test_a_model_sealed_anew_while_it_is_read_is_read_again(run, tmp_path, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("export"))
    read: list[Classifier] = []

    def loaded(path, *how):
        classifier = load(path, *how)
        if not read:
            sealed = read_sealed(copy)
            seal(sealed.path, sealed.weights, sealed.card | {"temperature": 3.0})
        read.append(classifier)
        return classifier

    monkeypatch.setattr("resnets.exporting.exporting.load", loaded)
    export = export_model(copy, "safetensors", out=tmp_path / "out").path
    card = json.loads((export / "model.json").read_bytes())
    assert card["temperature"] == 3.0
    assert card["export"]["source"] == source_of(copy)


def test_int8_is_measured_on_training_images(run, tmp_path, monkeypatch):
    seen = []

    def writing(classifier, form, precision, training):
        seen.append(training.names)
        return write_form(classifier, form, precision, training)

    monkeypatch.setattr(WRITING, writing)
    held_out = run.parent / "data" / "test"  # a folder of classes: all of it is one part
    export_model(run, "onnx", "int8", out=tmp_path / "a", data=held_out, max_drop=100)
    assert all(name.startswith("train/") for name in seen[0])
    shutil.copytree(run / "model", tmp_path / "alone")
    with pytest.raises(DataError, match="no training images"):
        export_model(tmp_path / "alone", "onnx", "int8", data=held_out, max_drop=100)


def test_a_missing_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match="openvino") as error:
        export_model(run, "openvino")
    assert "resnets[openvino]" in error.value.fix


def test_the_command_exports_and_fails_as_it_should(run, tmp_path, monkeypatch, capsys):
    from resnets.cli import main

    def resnets(*arguments):
        monkeypatch.setattr(sys, "argv", ["resnets", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    export = ("export", run, "--format", "safetensors", "--out", tmp_path / "out")
    code, out, _ = resnets(*export)
    assert code == 0 and "the gate is weak" in out and "paired interval" in out
    assert (tmp_path / "out" / "model.safetensors").exists()
    before = contents(tmp_path / "out")
    monkeypatch.setattr(WRITING, scrambled(write_form))
    code, out, err = resnets(*export)
    assert code == 1 and "answers that changed" in out and "not exported" in err
    assert contents(tmp_path / "out") == before
    code, out, err = resnets(*export, "--precision", "int8")
    assert code == 2 and "fix:" in err and not out


def test_a_folded_sealed_model_has_no_norms_and_the_same_weights_elsewhere(run, exports):
    folded = safetensors.torch.load_file(exports["safetensors", "fp32"].path / "model.safetensors")
    sealed = safetensors.torch.load_file(run / "model" / "model.safetensors")
    assert any("running_var" in name for name in sealed)
    assert not any("running_var" in name or ".bn" in name for name in folded)
    torch.testing.assert_close(folded["fc.weight"], sealed["fc.weight"], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("resnet20", "resnet18_option_a", "resnet50d", "se_resnet18", "preact_resnet18"),
        *("resnext29_8x64d", "wide_resnet16_8", "keras_resnet50v2", "densenet_bc_100_12"),
        *("lenet5", "alexnet2012", "vgg11_bn", "nin_cifar", "googlenet", "highway19"),
    ],
)
def test_networks_of_every_family_can_be_exported(name):
    import onnxruntime

    from resnets.engines.folding import fold
    from resnets.exporting.network import network_model

    network = create_model(name, num_classes=7, seed=0).eval()
    batch = torch.randn(3, *network.spec.input_size)
    model = network_model(fold(network, batch[:1]), network.spec.input_size)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(["logits"], {"batch": batch.numpy()})
    with torch.no_grad():
        expected = network(batch).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
