"""Weights from torchvision, files and folders: what is read, what is refused, what is loaded."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from file_server import NOBODY, FileServer, serving
from made_up_weights import equal, network, put, safe, saved
from resnets.checkpoint import seal
from resnets.config import Preprocess
from resnets.data.named import _imagenet_classes
from resnets.errors import ConfigError, ModelFileError, UnknownName
from resnets.models import create_model, downloading
from resnets.models.specs import SPECS
from resnets.models.weights import available, fit_weights, foreign, read_weights, sources
from resnets.models.weights.names import translate
from resnets.models.weights.published import TORCHVISION, Published, published


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that weights are kept in."""
    monkeypatch.setenv("RESNETS_WEIGHTS_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(downloading, "PAUSE", 0.0)
    return tmp_path / "kept"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_table_has_every_official_classifier_weight_newest_first(name: str) -> None:
    builder, entries = TORCHVISION[name]
    enum = torchvision.models.get_model_weights(builder)
    whole = [entry.name for entry in enum if "FEATURES" not in entry.name]  # those have no head
    assert sorted(entries) == sorted(whole)
    assert entries[0] == enum["DEFAULT"].name
    assert available(name) == [f"torchvision:{entry}" for entry in entries]


def test_every_network_of_torchvision_that_is_ours_has_its_weights() -> None:
    families = ("resnet", "resnext", "wide_resnet", "vgg", "densenet", "alexnet", "googlenet")
    theirs = {name for name in torchvision.models.list_models() if name.startswith(families)}
    assert theirs == {builder for builder, _ in TORCHVISION.values()}
    assert TORCHVISION.keys() <= SPECS.keys()


def test_networks_without_official_weights_have_none() -> None:
    assert available("resnet20") == available("resnet50_v1") == available("resnet50_") == []


@pytest.mark.parametrize(
    ("name", "entry"), [(name, entry) for name, (_, all_) in TORCHVISION.items() for entry in all_]
)
def test_a_record_says_what_torchvision_says(name: str, entry: str) -> None:
    record = published(name, entry)
    theirs = torchvision.models.get_model_weights(TORCHVISION[name][0])[entry]
    told = theirs.transforms()
    assert record.url == theirs.url
    assert f"-{record.sha256}.pth" in record.url and len(record.sha256) == 8
    assert record.preprocess.input_size == (3, *told.crop_size * 2)
    assert round(told.crop_size[0] / record.preprocess.crop_pct) == told.resize_size[0]
    assert record.accuracy == pytest.approx(theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100)
    assert 0.5 < record.accuracy < 0.9 and record.licence


def test_classes_have_the_names_of_the_data_set_imagenet(tmp_path: Path) -> None:
    folder = Path(pytest.importorskip("timm").__file__).parent / "data" / "_info"
    wnids = tuple((folder / "imagenet_synsets.txt").read_text().split())
    assert published("resnet18").classes == _imagenet_classes(wnids, tmp_path / "no mapping")


def test_an_unknown_entry_is_answered_with_the_right_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'IMAGENET1K_V2'"):
        published("resnet50", "IMAGENET1K_V3")
    with pytest.raises(ModelFileError, match="torchvision publishes no weights of resnet50_v1"):
        create_model("resnet50_v1", pretrained=True)


@pytest.fixture
def official(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """A record of weights of resnet20, on the server."""
    content = saved(network().state_dict())
    digest = hashlib.sha256(content).hexdigest()[:8]
    record = dataclasses.replace(
        published("resnet18"),
        model="resnet20",
        url=server.add(f"resnet20-{digest}.pth", content),
        sha256=digest,
        megabytes=round(len(content) / 2**20, 3),
        classes=tuple("abcdefghij"),
    )
    monkeypatch.setattr(sources, "published", lambda model, entry: record)
    yield record


def test_official_weights_are_downloaded_once_and_unpickled_once(
    official: Published, server: FileServer, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create_model("resnet20", pretrained=True)
    assert equal(made.state_dict(), network().state_dict())
    assert {path.suffix for path in kept.iterdir()} == {".safetensors", ".json"}
    record = json.loads(next(kept.glob("*.json")).read_text())
    assert record["sha256"].startswith(official.sha256)

    monkeypatch.setattr(foreign, "_in_another_process", lambda *args: pytest.fail("unpickled"))
    weights = read_weights("torchvision", model="resnet20")
    assert equal(weights.tensors, network().state_dict())
    assert (weights.model, weights.classes) == ("resnet20", official.classes)
    assert weights.preprocess == official.preprocess and weights.licence == official.licence
    assert len(server.asked) == 1


def test_a_file_from_elsewhere_is_never_taken_for_the_official_one(
    official: Published, server: FileServer, tmp_path: Path
) -> None:
    read_weights(put(tmp_path / "mine.pth", server.files[official.file]))  # the same hash even
    read_weights("torchvision", model="resnet20")
    assert server.asked == [f"GET {official.file}"]


def test_what_was_kept_is_read_anew_once_it_is_damaged(official: Published, kept: Path) -> None:
    read_weights("torchvision", model="resnet20")
    file = next(kept.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert equal(read_weights("torchvision", model="resnet20").tensors, network().state_dict())


@pytest.mark.parametrize("where", ["kept", "torch/hub/checkpoints"])
def test_a_file_that_is_there_already_is_not_downloaded(
    official: Published, server: FileServer, tmp_path: Path, where: str
) -> None:
    (tmp_path / where).mkdir(parents=True)
    put(tmp_path / where / official.file, server.files[official.file])
    assert equal(read_weights("torchvision", model="resnet20").tensors, network().state_dict())
    assert server.asked == []


def test_another_file_under_the_name_is_refused(official: Published, kept: Path) -> None:
    kept.mkdir()
    put(kept / official.file, saved({"fc.weight": torch.zeros(1)}))
    with pytest.raises(ModelFileError, match="is not torchvision's file: its SHA-256 begins with"):
        read_weights("torchvision", model="resnet20")


def test_a_file_of_the_right_hash_and_another_size_is_refused(
    official: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = dataclasses.replace(official, megabytes=official.megabytes + 0.1)
    monkeypatch.setattr(sources, "published", lambda model, entry: larger)
    with pytest.raises(ModelFileError, match=r"it has [\d,]+ bytes, not"):
        read_weights("torchvision", model="resnet20")


def test_without_network_both_ways_are_told(
    official: Published, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = dataclasses.replace(official, url=NOBODY + official.file)
    monkeypatch.setattr(sources, "published", lambda model, entry: away)
    with pytest.raises(ModelFileError, match="could not be downloaded") as error:
        create_model("resnet20", pretrained="torchvision")
    fix = error.value.fix
    assert fix.startswith("connect to the network")
    assert f"put {official.file} from {NOBODY} into {kept}" in fix


def test_googlenet_is_given_what_torchvisions_gives_itself() -> None:
    record = published("googlenet").preprocess
    pixels = torch.rand(1, 3, 4, 4)
    told = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1.transforms()
    theirs = torchvision.models.GoogLeNet(
        transform_input=True, aux_logits=False, init_weights=False
    )
    normalised = torchvision.transforms.functional.normalize(pixels, told.mean, told.std)
    expected = theirs._transform_input(normalised)
    found = torchvision.transforms.functional.normalize(pixels, list(record.mean), list(record.std))
    assert (found - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("options", "own_heads"),
    [({"num_classes": 3}, True), ({"num_classes": 0}, False), ({"auxiliary": False}, False)],
)
def test_auxiliary_heads_go_with_the_head(
    tmp_path: Path, options: dict[str, Any], own_heads: bool
) -> None:
    theirs = network("googlenet").state_dict()
    path = safe(tmp_path, theirs)
    made = create_model("googlenet", pretrained=path, seed=4, **options).state_dict()
    assert any(name.startswith("aux1.") for name in made) == own_heads
    fresh = create_model("googlenet", seed=4, **options).state_dict()
    for name, tensor in made.items():
        new = own_heads and name.startswith(("fc.", "aux1.", "aux2."))
        assert torch.equal(tensor, fresh[name] if new else theirs[name]), name


@pytest.mark.parametrize("name", SPECS)
def test_our_own_names_are_never_translated(name: str) -> None:
    with torch.device("meta"):
        state = create_model(name).state_dict()
    translated, notes = translate(state)
    assert list(translated) == list(state) and notes == []


def test_two_tensors_of_one_name_are_refused() -> None:
    with pytest.raises(ModelFileError, match="two tensors of the file would be called fc.bias"):
        translate({"fc.bias": torch.zeros(1), "linear.bias": torch.zeros(1)})


def test_the_number_of_classes_is_that_of_the_weights(tmp_path: Path) -> None:
    path = safe(tmp_path, network(num_classes=7).state_dict())
    assert len(create_model("resnet20", pretrained=path).get_parameter("fc.bias")) == 7
    headless = create_model("resnet20", pretrained=path, num_classes=0)
    assert not any(name.startswith("fc") for name in headless.state_dict())


def test_with_other_classes_the_head_is_new_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = safe(tmp_path, network().state_dict())
    with caplog.at_level(logging.WARNING, "resnets"):
        made = create_model("resnet20", pretrained=path, num_classes=3, seed=5).state_dict()
    assert "has 10 classes: the head with 3 is new and untrained" in caplog.text
    fresh = create_model("resnet20", num_classes=3, seed=5).state_dict()
    for name, tensor in network().state_dict().items():
        same = fresh[name] if name.startswith("fc.") else tensor
        assert torch.equal(made[name], same), name


def test_grey_images_give_what_the_same_images_in_colour_gave(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = safe(tmp_path, network().state_dict())
    with caplog.at_level(logging.WARNING, "resnets"):
        grey = create_model("resnet20", pretrained=path, in_channels=1).eval()
    assert "summed over them for grey images" in caplog.text
    images = torch.randn(2, 1, 32, 32)
    expected = network().eval()(images.expand(-1, 3, -1, -1))
    assert (grey(images) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_convolution_of_the_whole_map_is_a_linear_layer() -> None:
    state = network().state_dict()
    convolution = state | {"fc.weight": state["fc.weight"][:, :, None, None]}
    assert equal(fit_weights(convolution, network(), replace_head=False), state)


def test_frozen_batch_norms_take_official_weights(tmp_path: Path) -> None:
    path = safe(tmp_path, network("resnet18").state_dict())
    frozen = create_model(
        "resnet18", pretrained=path, norm_layer=torchvision.ops.FrozenBatchNorm2d
    ).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = network("resnet18").eval()(images)
    assert (frozen(images) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_what_does_not_fit_is_shown_as_a_table_and_nothing_is_loaded() -> None:
    state = network().state_dict()
    state["conv1.weight"] = torch.zeros(8, 3, 3, 3)
    del state["layer1.0.bn1.bias"]
    state["extra"] = torch.zeros(2)
    ours = create_model("resnet20", seed=2)
    with pytest.raises(ModelFileError) as error:
        ours.load_state_dict(fit_weights(state, ours, replace_head=False))
    rows = [line.split("  ") for line in error.value.problem.splitlines()[1:]]
    rows = [[cell.strip() for cell in row if cell] for row in rows]
    assert rows == [
        ["tensor", "expected", "found"],
        ["conv1.weight", "(16, 3, 3, 3)", "(8, 3, 3, 3)"],
        ["layer1.0.bn1.bias", "(16,)", "nothing"],
        ["extra", "nothing", "(2,)"],
    ]
    assert equal(ours.state_dict(), create_model("resnet20", seed=2).state_dict())


def test_the_table_of_another_network_is_short() -> None:
    with pytest.raises(ModelFileError) as error:
        fit_weights(network("resnet32").state_dict(), create_model("resnet20"), replace_head=False)
    lines = error.value.problem.splitlines()
    assert len(lines) == 8 and lines[-1].strip() == "and 55 more"  # of 6 blocks, 10 each


@pytest.mark.parametrize(
    ("name", "value"),
    [("fc.bias", float("nan")), ("conv1.weight", float("inf")), ("bn1.running_var", -1.0)],
)
def test_impossible_numbers_are_refused(name: str, value: float) -> None:
    state = {key: tensor.clone() for key, tensor in network().state_dict().items()}
    state[name].view(-1)[0] = value
    with pytest.raises(ModelFileError, match=name):
        fit_weights(state, create_model("resnet20"), replace_head=False)


def test_weights_that_say_whose_they_are_go_into_no_other_network(tmp_path: Path) -> None:
    card = {
        "architecture": "resnet50",
        "options": {},
        "label_names": list("ab"),
        "preprocess": Preprocess(input_size=(3, 224, 224)).to_dict(),
    }
    with torch.device("meta"):
        state = create_model("resnet50", num_classes=2).state_dict()
    seal(tmp_path / "m", {name: torch.zeros(t.shape) for name, t in state.items()}, card)
    with pytest.raises(ConfigError, match="the weights of resnet50, which is another network"):
        create_model("resnet50_v1", pretrained=tmp_path / "m")  # every shape would fit
    dilated = create_model(
        "resnet50", pretrained=tmp_path / "m", replace_stride_with_dilation=(False, True, True)
    )
    assert len(dilated.get_parameter("fc.bias")) == 2
