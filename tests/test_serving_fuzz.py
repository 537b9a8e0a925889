"""Requests made from the service's own description, then spoiled: never a 5xx, never a restart."""

import json
import os
import socket
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from corpus import encoded, scene
from damage import damaged
from runs import fit, save_folder
from serving import STARTS, Service, multipart
from soaking import cases, record

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and /proc")
DESCRIBED = cases(300, 60_000)
RAW = cases(150, 40_000)
ANSWERS_IN = 0.2
"""Seconds after which raw bytes are taken to be no whole request."""
ORIGINS = ["http://[", "http://[::1", "null", "://", "http://", "http://localhost:99999", "]"]
WORDS = ["", "0", "-1", "1.5", "2" * 400, "NaN", "null", "true", "left", "layer3", "\0", "é𝄞\u202e"]
WORDS += ["../../etc/passwd", "<script>", "' OR 1=1", "{}", "[]", "%s%n", "\r\nX: y", " " * 50]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("fuzz")
    photos = save_folder(folder / "photos", 8, 16)
    fit(photos, model="resnet20", steps=2, batch_size=4, out=folder / "run")
    limits = {"head_seconds": 1.0, "body_seconds": 1.0, "idle_seconds": 1.0}
    started = Service(folder / "run", folder / "log", limits=limits)
    yield started
    started.close()


def drawn(schema: dict[str, Any], rng: np.random.Generator) -> str:
    """A value of that schema, or one in three times of none."""
    if rng.random() < 0.33:
        return str(rng.choice(WORDS))
    schema = next((each for each in schema.get("anyOf", []) if each["type"] != "null"), schema)
    if "enum" in schema:
        return str(rng.choice(schema["enum"]))
    if schema["type"] == "integer":
        low, high = schema.get("minimum", -10), schema.get("maximum", 10)
        return str(rng.choice([low - 1, low, (low + high) // 2, high, high + 1]))
    return str(rng.choice(["left", "right", *WORDS]))


def spoiled(data: bytes, rng: np.random.Generator) -> bytes:
    """Damaged, or one in six times as it was."""
    return damaged(data, rng) if rng.random() < 5 / 6 else data


def body_for(kind: str, rng: np.random.Generator) -> tuple[bytes, str]:
    """A body of a described type, spoiled or not, under its own type or another."""
    picture = Image.fromarray(scene())
    pillow = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
    if kind in pillow:
        body, told = encoded(picture, pillow[kind]), kind
    else:
        names = [str(rng.choice(WORDS)) for _ in range(int(rng.integers(0, 4)))]
        body, headers = multipart({name.encode("ascii", "replace").decode(): b"" for name in names})
        if rng.random() < 0.7:
            images = {
                f"{n}": encoded(picture, str(rng.choice(["JPEG", "PNG", "GIF"]))) for n in names
            }
            body, headers = multipart(images)
        told = headers["Content-Type"]
    if rng.random() < 0.1:
        told = str(
            rng.choice(["text/plain", "multipart/form-data", "multipart/form-data; boundary="])
        )
    return (spoiled(body, rng) if rng.random() < 0.6 else body), told


def test_described_requests_are_answered_as_described(service: Service) -> None:
    told = service.ask("GET", "/openapi.json").json
    routes = [
        (path, method, route)
        for path, methods in told["paths"].items()
        for method, route in methods.items()
    ]
    rng = np.random.default_rng(0)
    seen: set[tuple[str, int]] = set()
    passed, began = 0, time.monotonic()
    for number in range(DESCRIBED):
        path, method, route = routes[number % len(routes)]
        asked = [
            (each["name"], drawn(each["schema"], rng))
            for each in route.get("parameters", [])
            if rng.random() < 0.6
        ]
        headers, body = {}, b""
        if number % 7 == 0:
            headers["Origin"] = ORIGINS[number // 7 % len(ORIGINS)]
        if "requestBody" in route:
            kinds = sorted(route["requestBody"]["content"])
            body, headers["Content-Type"] = body_for(str(rng.choice(kinds)), rng)
        query = f"?{urlencode(asked)}" if asked else ""
        reply = service.ask(method.upper(), path + query, body, headers)
        data = reply.data
        seen.add((path, reply.status))
        assert str(reply.status) in route["responses"], (path, query, reply.status, data)
        assert reply.status < 500, (path, query, data)
        if reply.status >= 400:
            assert sorted(json.loads(data)["error"]) == ["fix", "problem"]
        passed += 1
    record(
        "served: requests from the description, spoiled",
        passed,
        DESCRIBED,
        time.monotonic() - began,
    )
    assert {("/v1/predict", 200), ("/v1/explain", 200), ("/v1/predict", 422)} <= seen
    assert service.metric("resnets_worker_restarts_total") == 0


def test_bytes_that_are_hardly_http_are_refused(service: Service) -> None:
    rng = np.random.default_rng(1)
    photo = encoded(Image.fromarray(scene(16, 16)), "PNG")
    body, headers = multipart({"a.png": photo, "b.png": photo})
    host = f"Host: 127.0.0.1:{service.port}\r\n"
    kind = headers["Content-Type"]
    good = [
        f"GET /v1/model HTTP/1.1\r\n{host}Origin: http://[::1]\r\n\r\n".encode(),
        f"GET /v1/model HTTP/1.1\r\n{host}\r\n".encode(),
        f"POST /v1/predict HTTP/1.1\r\n{host}Content-Length: {len(photo)}\r\n\r\n".encode() + photo,
        f"POST /v1/predict?top=2 HTTP/1.1\r\n{host}Content-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body,
        f"POST /v1/predict HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"
        f"{len(photo):x}\r\n".encode()
        + photo
        + b"\r\n0\r\n\r\n",
        f"POST /v1/explain HTTP/1.1\r\n{host}Content-Length: 9\r\n"
        "Expect: 100-continue\r\n\r\nno image!".encode(),
    ]
    statuses: list[int] = []
    for number in range(RAW):
        with service.socket() as client:
            client.sendall(spoiled(good[number % len(good)], rng))
            client.settimeout(ANSWERS_IN)
            data = b""
            with suppress(ConnectionResetError):
                with suppress(TimeoutError):
                    data = client.recv(65536)
                client.settimeout(STARTS)
                with suppress(OSError):  # it is closed already
                    client.shutdown(socket.SHUT_WR)  # so that nothing more is waited for
                while piece := client.recv(65536):
                    data += piece
        for part in data.split(b"HTTP/1.1 ")[1:]:
            statuses.append(int(part[:3]))
    assert not [each for each in statuses if each >= 500]
    assert {200, 400} <= set(statuses)
    assert service.ready() and service.metric("resnets_worker_restarts_total") == 0
    assert "Traceback" not in service.text
    record("served: requests of spoiled bytes", RAW, RAW, 0)
