"""Models that a service meets: strange names, answers that are none, other classes than before."""

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from browsing import answers, chromium, needs_chromium, watched
from corpus import encoded
from resnets.checkpoint import seal
from resnets.config import Preprocess
from resnets.models import create_model
from resnets.prediction import load
from serving import Service, until
from stub_service import HOSTILE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and names that are no UTF-8")
NAMES = ["cat", HOSTILE, os.fsdecode(b"dog-\xff")]


def sealed(run: Path, names: list[str], *, broken: bool = False) -> Path:
    preprocess = Preprocess(input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.05,) * 3)
    card = {
        "architecture": "resnet20",
        "options": {},
        "num_classes": len(names),
        "input_size": [3, 16, 16],
        "label_names": names,
        "preprocess": preprocess.to_dict(),
    }
    weights = create_model("resnet20", num_classes=len(names), seed=1).state_dict()
    if broken:
        weights = {
            name: torch.full_like(each, torch.nan) if name.endswith("weight") else each
            for name, each in weights.items()
        }
    seal(run / "model", weights, card)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed(tmp_path_factory.mktemp("models") / "run", NAMES)


@pytest.fixture(scope="module")
def service(run: Path):
    started = Service(run, run.parent / "log")
    yield started
    started.close()


@pytest.fixture(scope="module")
def photo() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def test_names_that_are_no_utf8_are_told_as_json_escapes(service: Service, photo: bytes) -> None:
    reply = service.predict(photo, 3)
    assert reply.status == 200 and reply.data.isascii()
    (result,) = reply.json["results"]
    assert {each["label"] for each in result["predictions"]} == set(NAMES)
    assert service.ask("GET", "/v1/model").json["card"]["label_names"] == NAMES
    told = service.ask("POST", "/v1/explain", photo)
    assert told.status == 200 and {each["label"] for each in told.json["maps"]} < set(NAMES)


@needs_chromium
def test_the_page_of_the_service_itself_answers_and_runs_no_names(
    service: Service, run: Path, photo: bytes
) -> None:
    pytest.importorskip("playwright")
    with chromium() as browser, watched(browser) as page:
        page.goto(f"http://127.0.0.1:{service.port}/")
        page.set_input_files("#files", {"name": "a.png", "mimeType": "image/png", "buffer": photo})
        (found,) = answers(page, 1)
        page.get_by_role("button", name="evidence").click()
        page.locator(".map").wait_for()
        assert page.locator("script").count() == 1 and not page.locator("img[onerror]").count()
    expected = {each.label[:3]: each.probability for each in load(run).predict(photo, top=3)}
    assert {name[:3]: percent for name, percent in found.items()} == {
        name: round(100 * each, 1) for name, each in expected.items()
    }


def test_a_model_that_answers_nonsense_is_not_served(
    service: Service, run: Path, photo: bytes
) -> None:
    before = service.predict(photo).json
    sealed(run, NAMES, broken=True)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "the new model is not served" in service.text)
    assert service.predict(photo).json == before and service.ready()


def test_a_model_of_other_classes_answers_with_its_own(
    service: Service, run: Path, photo: bytes
) -> None:
    names = ["red", "green", "blue", "grey"]
    sealed(run, names)
    (best,) = load(run).predict(photo)
    until(partial(answers_as, service, photo, best.label))
    reply = service.predict(photo, 9).json
    assert [each["label"] for each in reply["results"][0]["predictions"]] == [
        each.label for each in load(run).predict(photo, top=9)
    ]
    assert service.ask("GET", "/v1/model").json["card"]["label_names"] == names
    assert service.metric("resnets_worker_restarts_total") == 0


def answers_as(service: Service, photo: bytes, label: str) -> bool:
    return service.predict(photo).json["results"][0]["predictions"][0]["label"] == label
