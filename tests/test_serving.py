"""Over HTTP a model answers as it does in Python, and tells what it is."""

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corpus import encoded, scene
from resnets.exporting import export_model
from resnets.prediction import Classifier, load
from resnets.sealing import SUMS
from runs import fit, save_folder
from serving import Reply, Service, memory, multipart
from soaking import cases, record

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and /proc")
TOKEN = "a-token-for-the-tests"
ALONE = cases(60, 10_000)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    photos = save_folder(folder / "photos", 24, 24, odd=True)
    fit(photos, model="resnet20", steps=4, batch_size=8, out=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def service(run: Path, tmp_path_factory: pytest.TempPathFactory):
    started = Service(run, tmp_path_factory.mktemp("log") / "log", token=TOKEN)
    yield started
    started.close()


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    return load(run)


def images(count: int) -> list[bytes]:
    """Noise of many shapes, in the three kinds that are taken."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        shape = (int(rng.integers(8, 60)), int(rng.integers(8, 60)), 3)
        picture = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        found.append(encoded(picture, ("JPEG", "PNG", "WEBP")[index % 3]))
    return found


def the_result(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.data
    (result,) = reply.json["results"]
    return result


def test_answers_are_those_of_the_classifier_alone_and_with_batch_mates(
    service: Service, classifier: Classifier
) -> None:
    pictures = images(ALONE)
    top = len(classifier.classes)
    expected = classifier.predict(list(pictures), top=top)

    def close(result: dict[str, Any], index: int) -> bool:
        told = {each["label"]: each["probability"] for each in result["predictions"]}
        wanted = {each.label: each.probability for each in expected[index]}
        first = result["predictions"][0]["label"] == expected[index][0].label
        return first and all(abs(told[name] - wanted[name]) <= 1e-5 for name in wanted)

    alone = [close(the_result(service.predict(each, top)), n) for n, each in enumerate(pictures)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda each: service.predict(each, top), pictures))
    together = [close(the_result(reply), n) for n, reply in enumerate(replies)]
    in_parts = []
    for start in range(0, len(pictures), 20):
        names = {f"{n}.png": each for n, each in enumerate(pictures[start : start + 20])}
        body, headers = multipart(names)
        reply = service.ask("POST", f"/v1/predict?top={top}", body, headers)
        assert [each["file"] for each in reply.json["results"]] == list(names)
        in_parts += [close(each, start + n) for n, each in enumerate(reply.json["results"])]
    assert service.metric('resnets_batch_images_bucket{le="1"}') < service.metric(
        "resnets_batch_images_count"
    ), "some shared a batch"
    passed = sum(a and b and c for a, b, c in zip(alone, together, in_parts, strict=True))
    record("served: images answered alone, batched and in parts as in Python", passed, ALONE, 0)
    assert passed == ALONE


def test_the_test_images_are_answered_as_evaluate_does(
    service: Service, classifier: Classifier
) -> None:
    predictions = classifier.predict_split(None, "test")
    files = sorted((classifier.path.parent.parent / "photos" / "test").rglob("*.png"))
    names = {
        Path(name).name: row
        for name, row in zip(predictions.names, predictions.logits, strict=True)
    }
    for file in files:
        result = the_result(service.predict(file.read_bytes()))
        best = classifier.classes[int(np.argmax(names[file.name]))]
        assert result["predictions"][0]["label"] == best


def test_a_file_bytes_and_http_are_one(service: Service, classifier: Classifier, tmp_path) -> None:
    """The same JSON as `resnets predict --json`, but for the name."""
    (tmp_path / "photo.jpg").write_bytes(encoded(Image.fromarray(scene()), "JPEG"))
    command = [sys.executable, "-m", "resnets", "predict", str(classifier.path.parent)]
    command += [str(tmp_path / "photo.jpg"), "--json", "--top", "2"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    body, headers = multipart({str(tmp_path / "photo.jpg"): (tmp_path / "photo.jpg").read_bytes()})
    reply = service.ask("POST", "/v1/predict?top=2", body, headers)
    assert the_result(reply) == json.loads(printed)


def test_the_model_is_named_by_the_hash_of_its_sums(service: Service, run: Path) -> None:
    printed = subprocess.run(["sha256sum", run / "model" / SUMS], capture_output=True, check=True)
    sums = printed.stdout.split()[0].decode()
    told = service.ask("GET", "/v1/model").json
    assert told["model"] == sums == service.predict(images(1)[0]).json["model"]
    assert told["card"] == json.loads((run / "model" / "model.json").read_text())
    assert (told["engine"], told["explains"]) == ("pytorch", True)
    assert f'resnets_model_info{{model="{sums}"}} 1' in service.ask("GET", "/metrics").data.decode()


def test_one_unreadable_image_is_refused_and_among_others_it_is_named(service: Service) -> None:
    good = images(1)[0]
    assert service.predict(b"GIF89a" + bytes(50)).status == 415
    assert service.predict(b"").status == 400
    assert service.predict(good[: len(good) // 2]).status == 422
    body, headers = multipart({"good.jpg": good, "cut.jpg": good[:40], "text": b"hello there"})
    results = service.ask("POST", "/v1/predict", body, headers).json["results"]
    assert "predictions" in results[0]
    assert [sorted(each) for each in results[1:]] == [["error", "file"]] * 2
    assert "cut short" in results[1]["error"] and "text file" in results[2]["error"]


def test_an_explanation_lies_over_the_upright_image(
    service: Service, classifier: Classifier
) -> None:
    """Against the explanation in Python; outside what the network sees it is clear."""
    pixels = np.random.default_rng(1).integers(0, 256, (30, 90, 3), dtype=np.uint8)
    file = encoded(Image.fromarray(pixels), "PNG")
    told = service.ask("POST", "/v1/explain?label=left", file).json
    found = classifier.explain(file, label="left")
    assert told["label"] == "left"
    for each, evidence in zip(told["maps"], found.evidence, strict=True):
        assert each["label"] == evidence.label
        assert abs(each["probability"] - evidence.probability) < 1e-5
        assert abs(each["deletion"] - evidence.scores.deletion) < 1e-4
        drawn = Image.open(io.BytesIO(base64.b64decode(each["png"])))
        assert (drawn.format, drawn.mode, drawn.size) == ("PNG", "RGBA", (90, 30))
        alpha = np.asarray(drawn)[..., 3].astype(float)
        assert not alpha[:, :29].any() and not alpha[:, 61:].any(), "the middle square is seen"
        if evidence.map.max() > 0:
            large = Image.fromarray(np.maximum(evidence.map, 0)).resize((30, 30), 2)
            assert np.corrcoef(alpha[:, 30:60].ravel(), np.asarray(large).ravel())[0, 1] > 0.9
    reply = service.ask("POST", "/v1/explain?label=cat", file)
    assert reply.status == 422 and "no class named 'cat'" in reply.json["error"]["problem"]
    assert service.ask("POST", "/v1/explain?at=nowhere", file).status == 422
    assert service.ask("POST", "/v1/explain", b"hello").status == 415


def test_errors_have_one_form_and_answers_their_headers(service: Service) -> None:
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("GET", "/v1/predict", 405),
        ("POST", "/v1/predict/", 404),
        ("POST", "/v1/predict?top=0", 422),
        ("POST", "/v1/predict?top=many", 422),
        ("GET", "/report/../../etc/passwd", 404),
    ):
        reply = service.ask(method, path, b"x" if method == "POST" else None)
        assert reply.status == status
        assert sorted(reply.json["error"]) == ["fix", "problem"]
    for path in ("/", "/health/live", "/v1/model", "/report", "/nowhere"):
        headers = service.ask("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert not any(name.startswith("access-control") for name in headers)
        assert "server" not in headers


def test_the_page_and_the_report_are_served(service: Service, run: Path) -> None:
    page = service.ask("GET", "/")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    report = service.ask("GET", "/report")
    assert report.data == (run / "report.html").read_bytes()
    (inside,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', report.data.decode())
    assert report.headers["content-security-policy"].startswith(inside)
    assert "script-src" not in report.headers["content-security-policy"]


def test_the_openapi_description_tells_the_routes(service: Service) -> None:
    told = service.ask("GET", "/openapi.json").json
    assert set(told["paths"]) == {
        *("/v1/predict", "/v1/explain", "/v1/model"),
        *("/health/live", "/health/ready", "/metrics"),
    }
    content = told["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert set(content) == {"image/jpeg", "image/png", "image/webp", "multipart/form-data"}


def test_only_who_has_the_token_is_answered(service: Service) -> None:
    for given in ("", "Bearer", "Bearer wrong-token-of-some-length", f"Basic {TOKEN}", TOKEN):
        for method, path in (("GET", "/v1/model"), ("POST", "/v1/predict"), ("GET", "/metrics")):
            reply = service.ask(method, path, headers={"Authorization": given})
            assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        assert service.ask("GET", "/report", headers={"Authorization": given}).status == 401
    for path in ("/", "/health/live", "/health/ready"):
        assert service.ask("GET", path, headers={"Authorization": ""}).status == 200


def test_other_names_and_other_sites_are_refused(service: Service) -> None:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]"):
        assert service.ask("GET", "/health/live", headers={"Host": host}).status == 421
    for host in ("localhost", f"127.0.0.1:{service.port}", "LOCALHOST:1", "[::1]:80"):
        assert service.ask("GET", "/health/live", headers={"Host": host}).status == 200
    image = images(1)[0]
    for origin in ("https://evil.example", "null", "http://localhost:1", "http://[", ""):
        reply = service.ask("POST", "/v1/predict", image, {"Origin": origin})
        assert reply.status == 403
    own = {"Origin": f"http://127.0.0.1:{service.port}"}
    assert service.ask("POST", "/v1/predict", image, own).status == 200


def test_the_front_holds_no_torch_and_logs_no_control_characters(service: Service) -> None:
    body, headers = multipart({"\x1b]0;owned\x07.png": b"\x1b[2J"})
    reply = service.ask("POST", "/v1/predict", body, headers)
    assert reply.status == 415
    maps = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "libtorch" not in maps and memory(service.process.pid) < 200 * 2**20
    assert "\x1b" not in service.text and "Traceback" not in service.text


def started(*arguments: object, token: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnets", "serve", *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "RESNETS_TOKEN"}
    environment |= {"RESNETS_TOKEN": token} if token else {}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_service_that_cannot_be_is_refused_with_the_fix(run: Path, tmp_path: Path) -> None:
    done = started(run, "--host", "0.0.0.0")
    assert done.returncode == 2 and "no token is set" in done.stderr and "fix:" in done.stderr
    assert started(run, "--host", "0.0.0.0", token="short").returncode == 2
    assert started(run, "--token-file", tmp_path / "none").returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = started(run, "--port", taken.getsockname()[1])
    assert done.returncode == 2 and "Address already in use" in done.stderr
    done = started(tmp_path / "nothing", "--port", 0)
    assert done.returncode == 2 and "fix:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_export_answers_and_says_that_it_cannot_be_looked_into(
    run: Path, classifier: Classifier, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.copytree(run.parent / "photos", tmp_path / "photos")
    folder = export_model(copy, "onnx").path
    service = Service(folder, tmp_path / "log")
    try:
        for picture in images(30):
            result = the_result(service.predict(picture, 2))
            for told, each in zip(
                result["predictions"], classifier.predict(picture, 2), strict=True
            ):
                assert told["label"] == each.label
                assert abs(told["probability"] - each.probability) <= 1e-4
        reply = service.ask("POST", "/v1/explain", images(1)[0])
        assert reply.status == 409 and "exported" in reply.json["error"]["problem"]
        assert service.ask("GET", "/v1/model").json["engine"] == "onnxruntime"
    finally:
        service.close()
