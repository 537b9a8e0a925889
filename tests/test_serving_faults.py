"""A service whose worker dies, whose model is replaced, that is stopped: nothing is lost."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpus import encoded
from resnets.prediction import load
from resnets.sealing import SUMS, replace_folder
from resnets.serving.protocol import LINGER
from runs import fit, save_folder
from serving import Load, Reply, Service, memory, multipart, until
from soaking import SOAK, cases, record

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and /proc")
KILLS = cases(1, 100)
SWAPS = cases(2, 100)
BAD = cases(1, 100)
STOPS = cases(1, 100)
REQUESTS = cases(400, 100_000)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on the same photos, of which the second answers otherwise."""
    folder = tmp_path_factory.mktemp("faults")
    photos = save_folder(folder / "photos", 8, 16)
    found = []
    for seed in (0, 1):
        run = folder / f"run{seed}"
        fit(photos, model="resnet20", steps=2, batch_size=4, seed=seed, out=run)
        found.append(run)
    return found


@pytest.fixture(scope="module")
def photo() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


@pytest.fixture(scope="module")
def run(models: list[Path]) -> Path:
    shutil.copytree(models[0], models[0].parent / "served")
    return models[0].parent / "served"


@pytest.fixture(scope="module")
def service(run: Path):
    started = Service(run, run.parent / "log")
    yield started
    started.close()


def test_a_killed_worker_is_replaced_and_nobody_waits_for_it(
    service: Service, photo: bytes
) -> None:
    noticed, back, told = [], [], 0
    with Load(service, photo) as load:
        for _ in range(KILLS):
            os.kill(service.worker, signal.SIGKILL)
            noticed.append(until(lambda: not service.ready()))
            back.append(until(service.ready))
            until(lambda: service.predict(photo).status == 200)
    for reply in load.replies:
        assert isinstance(reply, Reply) and reply.status in (200, 503), reply
        told += reply.status == 503 and "retry-after" in reply.headers
    assert told == sum(isinstance(each, Reply) and each.status == 503 for each in load.replies)
    assert service.metric("resnets_worker_restarts_total") == KILLS
    in_time = sum(a <= 1 and b <= 5 for a, b in zip(noticed, back, strict=True))
    record("served: killed workers noticed in 1 s and replaced in 5 s", in_time, KILLS, sum(back))
    if SOAK:  # a busy machine takes longer
        assert in_time == KILLS


def files_of(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / "model").iterdir() if file.name != SUMS}


def sums_of(run: Path) -> str:
    done = subprocess.run(["sha256sum", run / "model" / SUMS], capture_output=True, check=True)
    return done.stdout.split()[0].decode()


def test_a_model_is_swapped_under_load_and_every_answer_names_its_own(
    service: Service, run: Path, models: list[Path], photo: bytes
) -> None:
    expected = {}
    for model in models:
        (best,) = load(model).predict(photo)
        expected[sums_of(model)] = best.label, best.probability
    assert len({round(p, 4) for _, p in expected.values()}) == 2, "they can be told apart"
    wanted = list(expected)
    until(service.ready)
    with Load(service, photo, clients=2) as clients:
        for swap in range(SWAPS):
            number = 1 - swap % 2
            replace_folder(run / "model", files_of(models[number]))
            until(partial(answers_by, service, photo, wanted[number]))
    for reply in clients.replies:
        assert isinstance(reply, Reply) and reply.status == 200, reply
        label, probability = expected[reply.json["model"]]
        (best,) = reply.json["results"][0]["predictions"]
        assert best["label"] == label and abs(best["probability"] - probability) < 1e-5
    assert service.metric("resnets_worker_restarts_total") == KILLS
    record("served: models swapped under load without a lost or mixed answer", SWAPS, SWAPS, 0)


def answers_by(service: Service, photo: bytes, model: str) -> bool:
    return service.predict(photo).json.get("model") == model


def test_a_bad_model_leaves_the_one_before(service: Service, run: Path, photo: bytes) -> None:
    before = service.predict(photo).json
    good = files_of(run)
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(BAD):
        lines = service.text.count("is not served")
        damaged = dict(good)
        name = str(rng.choice(sorted(damaged)))
        data = bytearray(damaged[name])
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        damaged[name] = bytes(data)
        for file, content in damaged.items():  # behind sums that no longer hold
            (run / "model" / file).write_bytes(content)
        service.process.send_signal(signal.SIGHUP)
        until(partial(tells_more, service, "is not served", lines))
        passed += service.predict(photo).json == before and service.ready()
    replace_folder(run / "model", good)
    record("served: bad models refused, the one before goes on", passed, BAD, 0)
    assert passed == BAD


def tells_more(service: Service, words: str, than: int) -> bool:
    return service.text.count(words) > than


def test_memory_files_and_threads_stay_as_they_are(service: Service, photo: bytes) -> None:
    """Requests of all kinds, good and bad; what the first of them brought is not counted."""
    until(service.ready)
    body, headers = multipart({"a.png": photo, "b.png": photo[:40], "c": b"text"})
    kinds = [
        (200, lambda: service.predict(photo)),
        (200, lambda: service.ask("POST", "/v1/predict", body, headers)),
        (415, lambda: service.ask("POST", "/v1/predict", b"GIF89a")),
        (422, lambda: service.ask("POST", "/v1/predict?top=x", photo)),
        (422, lambda: service.ask("POST", "/v1/explain", photo[:50])),
        (200, lambda: service.ask("GET", "/v1/model")),
        (404, lambda: service.ask("GET", "/nowhere")),
        (200, lambda: service.ask("GET", "/report")),
        (421, lambda: service.ask("GET", "/", headers={"Host": "evil.example"})),
    ]

    def state() -> tuple[int, int, int]:
        pids = (service.process.pid, service.worker)
        return (
            sum(memory(pid) for pid in pids),
            sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids),
        )

    def send(number: int) -> None:
        if number % 200 == 0:
            assert service.ask("POST", "/v1/explain", photo).status == 200
        status, request = kinds[number % len(kinds)]
        assert request().status == status

    clients = 4
    with ThreadPoolExecutor(clients) as pool:
        first = min(5_000, REQUESTS // 2)
        list(pool.map(send, range(first)))
        time.sleep(2 * LINGER)  # refused connections stay open so long
        before = state()
        list(pool.map(send, range(first, REQUESTS)))
        time.sleep(2 * LINGER)
        after = state()
    assert after[0] - before[0] <= 20 * 2**20
    assert after[1] == before[1]
    # The pool that takes bodies apart has as many threads as it once had requests at a time.
    assert after[2] - before[2] < clients
    record("served: mixed requests at the same memory, files and threads", REQUESTS, REQUESTS, 0)


def test_a_stopped_service_answers_what_it_accepted(run: Path, photo: bytes, tmp_path) -> None:
    """Slow clients are open as well; the worker stands still until the signal is there."""
    lost = 0
    for number in range(STOPS):
        service = Service(run, tmp_path / f"log{number}")
        try:
            slow = [service.socket() for _ in range(3)]
            slow[0].sendall(b"POST /v1/predict HTTP/1.1\r\nHo")
            slow[1].sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n1"
            )
            os.kill(service.worker, signal.SIGSTOP)
            with ThreadPoolExecutor(20) as pool:
                asked = [pool.submit(service.predict, photo) for _ in range(20)]
                until(partial(waits, service, 20))
                worker = service.worker
                service.process.send_signal(signal.SIGTERM)
                until(partial(refuses, service))
                os.kill(worker, signal.SIGCONT)
                lost += sum(each.result().status != 200 for each in asked)
            assert service.process.wait(30) == 0
            for client in slow:
                client.close()
            assert not Path(f"/proc/{worker}").exists(), "the worker ended too"
        finally:
            service.close()
    record("served: stops that lost nothing that was accepted", STOPS if not lost else 0, STOPS, 0)
    assert lost == 0


def test_a_stop_waits_for_who_has_connected_and_not_for_who_does_not_read(
    run: Path, photo: bytes, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copytree(run / "model", tmp_path / "run" / "model")
    (tmp_path / "run" / "report.html").write_bytes(bytes(40_000_000))
    service = Service(tmp_path / "run", tmp_path / "log")
    try:
        host = f"Host: 127.0.0.1:{service.port}\r\n"
        deaf, fresh = service.socket(), service.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(f"GET /report HTTP/1.1\r\n{host}\r\n".encode())
        assert deaf.recv(15) == b"HTTP/1.1 200 OK"
        assert service.ready()  # and so both connections were accepted
        service.process.send_signal(signal.SIGTERM)
        until(partial(refuses, service))
        head = f"POST /v1/predict HTTP/1.1\r\n{host}Content-Length: {len(photo)}\r\n\r\n"
        fresh.sendall(head.encode() + photo)
        assert fresh.recv(15) == b"HTTP/1.1 200 OK"
        assert service.process.wait(30) == 0  # which reading or an explanation may take longer than
        deaf.close()
        fresh.close()
    finally:
        service.close()


def test_a_stop_while_the_first_model_loads_is_a_stop(run: Path, tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as log:
        command = [sys.executable, "-m", "resnets", "serve", str(run), "--port", "0"]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        until(lambda: children.read_text())
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


def waits(service: Service, images: int) -> bool:
    return service.metric("resnets_queued_images") == images


def refuses(service: Service) -> bool:
    try:
        service.socket().close()
    except OSError:
        return True
    return False


def test_a_worker_that_stands_still_is_noticed_and_replaced(
    models: list[Path], photo: bytes, tmp_path: Path
) -> None:
    limits = {"stall_seconds": 2.0, "answer_seconds": 1.0}
    service = Service(models[0], tmp_path / "log", limits=limits)
    try:
        worker = service.worker
        os.kill(worker, signal.SIGSTOP)
        reply = service.predict(photo)
        assert reply.status == 503 and "retry-after" in reply.headers
        until(lambda: not service.ready())
        until(service.ready)
        assert service.worker != worker and service.predict(photo).status == 200
        worker = service.worker
        service.process.kill()  # a front that is lost takes its worker along
        until(lambda: not Path(f"/proc/{worker}").exists() or "Z" in status(worker))
    finally:
        service.close()


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return "Z"


@pytest.mark.slow
def test_ctrl_c_ends_it_as_the_command_line_says(run: Path, tmp_path: Path) -> None:
    service = Service(run, tmp_path / "log")
    assert service.stop(signal.SIGINT) == 130
    assert "resnets: stopped" in service.text and "Traceback" not in service.text
    assert "Unknown child" not in service.text, "whoever waits for the worker gets its exit code"


INTERNET = re.compile(r"sa_family=AF_INET6?, .*")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_service_connects_to_nothing(run: Path, photo: bytes, tmp_path: Path) -> None:
    """By the system's own account, of all its processes, while it is asked all it can be."""
    service = Service(run, tmp_path / "first")
    service.close()
    calls = tmp_path / "calls.txt"
    command = ["strace", "-f", "--seccomp-bpf", "-o", str(calls), "-e"]
    command += ["trace=connect,sendto,sendmsg,sendmmsg", sys.executable, "-m", "resnets"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [*command, "serve", str(run), "--port", "0"], stdout=log, stderr=log
        )
    text = (tmp_path / "log").read_text
    until(lambda: "at http://" in text())
    found = re.search(r"at http://127.0.0.1:(\d+)/", text())
    assert found is not None
    service.port = int(found[1])
    assert service.predict(photo).status == 200
    for path in ("/", "/report", "/v1/model", "/metrics", "/openapi.json"):
        assert service.ask("GET", path).status == 200
    assert service.ask("POST", "/v1/explain", photo).status == 200
    service.ask("POST", "/v1/predict", b"http://127.0.0.1:1/a.jpg")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert process.wait(60) == 0
    # An answer to a client goes through a connected socket: sendto without an address.
    assert not INTERNET.findall(calls.read_text())
