"""What clients can do to a service: nothing that others would notice."""

import gzip
import http.client
import io
import os
import signal
import socket
import struct
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pytest
from PIL import Image

from corpus import encoded, scene
from runs import fit, save_folder
from serving import Load, Reply, Service, forget_peak, memory, multipart, until
from soaking import cases, record

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and /proc")
MEGABYTE = 2**20
HEAD, BODY = 1.0, 1.5
BATCH = 4
LIMITS: dict[str, float] = {
    "body": 2 * MEGABYTE,
    "held": 20 * MEGABYTE,
    "images": 5,
    "pixels": 1_000_000,
    "queue": 24,
    "batch": BATCH,
    "head_seconds": HEAD,
    "body_seconds": BODY,
    "answer_seconds": 5.0,
    "reading_seconds": 1.0,
    "explain_seconds": 5.0,
    "idle_seconds": 1.0,
    "silence_seconds": 20.0,
    "stall_seconds": 60.0,
}
SLOW = cases(60, 1_000)
ENDLESS = cases(20, 200)
BOMBS = cases(80, 500)
CANCELS = cases(100, 1_000)
BURST = cases(3, 300)
"""Seconds."""
PATHS = cases(200, 2_000)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("limits")
    photos = save_folder(folder / "photos", 8, 16)
    fit(photos, model="resnet20", steps=2, batch_size=4, out=folder / "run")
    started = Service(folder / "run", folder / "log", limits=LIMITS)
    yield started
    started.close()


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded(Image.fromarray(scene()), "JPEG")


def head(service: Service, *lines: str, path: str = "/v1/predict") -> bytes:
    told = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{service.port}", *lines]
    return ("\r\n".join(told) + "\r\n\r\n").encode()


def answer(connection: socket.socket) -> Reply:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Reply(response.status, dict(response.getheaders()), response.read())


def elsewhere(number: int) -> str:
    """An address of this machine that is not the one other tests come from."""
    return f"127.0.1.{1 + number % 250}"


def test_a_body_beyond_the_limit_is_refused_whatever_its_length_says(
    service: Service, photo: bytes
) -> None:
    with service.socket() as client:  # nothing of it is read
        client.sendall(head(service, f"Content-Length: {LIMITS['body'] + 1}"))
        assert answer(client).status == 413
    with service.socket() as client:
        client.sendall(head(service, "Content-Length: 10000000000000000000000"))
        assert answer(client).status in (400, 413)
    with service.socket() as client:  # shorter than it says: it is waited for, not for ever
        client.sendall(head(service, f"Content-Length: {len(photo) + 5}") + photo)
        assert answer(client).status == 408
    with service.socket() as client:  # longer than it says: the rest is another request, a bad one
        client.sendall(head(service, f"Content-Length: {len(photo)}") + photo + b"\0" * 50)
        assert answer(client).status == 200
    for length in ("-1", "1e3", "0x10", "5, 6"):
        with service.socket() as client:
            client.sendall(head(service, f"Content-Length: {length}"))
            assert answer(client).status == 400
    body, headers = multipart({f"{n}.jpg": photo for n in range(6)})
    assert service.ask("POST", "/v1/predict", body, headers).status == 413
    packed = gzip.compress(photo)
    reply = service.ask("POST", "/v1/predict", packed, {"Content-Encoding": "gzip"})
    assert reply.status == 415


def test_uploads_without_end_are_cut_at_the_limit(service: Service) -> None:
    """Counted by what could be sent, the buffers of two sockets included."""
    before = memory(service.process.pid)
    peak = [before]
    sent: list[int] = []
    statuses: list[int] = []

    def upload(number: int) -> None:
        piece = b"%x\r\n" % 2**16 + b"\0" * 2**16 + b"\r\n"
        total = 0
        with service.socket(elsewhere(number)) as client:
            client.sendall(head(service, "Transfer-Encoding: chunked"))
            try:
                while total < 1000 * MEGABYTE:
                    client.sendall(piece)
                    total += len(piece)
            except OSError:
                pass
            sent.append(total)
            try:
                statuses.append(answer(client).status)
            except (OSError, http.client.HTTPException):
                statuses.append(0)

    with ThreadPoolExecutor(20) as pool:
        uploads = [pool.submit(upload, number) for number in range(ENDLESS)]
        while not all(each.done() for each in uploads):
            peak.append(memory(service.process.pid))
            time.sleep(0.02)
    assert len(sent) == ENDLESS and max(sent) < LIMITS["body"] + 8 * MEGABYTE
    assert set(statuses) <= {413, 503, 0} and 413 in statuses
    assert max(peak) - before < 64 * MEGABYTE
    record("served: endless uploads cut within 64 MB", ENDLESS, ENDLESS, 0)


def test_slow_clients_are_cut_at_their_deadlines_while_others_are_answered(
    service: Service, photo: bytes
) -> None:
    service.predict(photo)
    lasted: list[float] = []

    def trickle(number: int) -> None:
        """A header, a body or nothing at all, a byte at a time."""
        with service.socket(elsewhere(number)) as client:
            began = time.monotonic()
            kind = number % 3
            if kind == 2:
                client.sendall(head(service, "Content-Length: 100000"))
            client.settimeout(0.2)
            try:
                for _ in count():
                    if kind:
                        client.sendall(b"A" if kind == 2 else b"G")
                    try:
                        if client.recv(1000) == b"":
                            break
                    except TimeoutError:
                        continue
            except OSError:
                pass
            lasted.append(time.monotonic() - began)

    threads = [threading.Thread(target=trickle, args=(number,)) for number in range(SLOW)]
    for thread in threads:
        thread.start()
    with Load(service, photo, clients=1) as load:
        for thread in threads:
            thread.join()
    assert load.replies and all(isinstance(each, Reply) for each in load.replies)
    assert {each.status for each in load.replies if isinstance(each, Reply)} == {200}
    in_time = sum(each < BODY + 2 + 2 for each in lasted)
    record("served: slow connections cut at their deadline", in_time, SLOW, 0)
    assert in_time == SLOW


def test_a_body_of_a_get_extends_nothing(service: Service) -> None:
    """Heads of chunks, half of each at a time: they once began the time anew."""
    line = f"GET /v1/model HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
    with service.socket() as client:
        client.sendall(f"{line}Transfer-Encoding: chunked\r\n\r\n".encode())
        reply = answer(client)
        assert (reply.status, reply.headers["connection"]) == (200, "close")

        def cut() -> bool:
            try:
                client.sendall(b"1")
                client.sendall(b"\r\na\r\n")
            except OSError:
                return True
            return False

        until(cut)


def test_a_client_that_does_not_read_is_cut(service: Service) -> None:
    """It asks again and again for the description, megabytes of it, and takes none."""
    with service.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line = f"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n\r\n".encode()
        client.settimeout(0.5)
        try:
            for _ in range(4000):
                client.sendall(line)
        except OSError:
            pass

        def cut() -> bool:
            try:
                client.sendall(line)
            except TimeoutError:
                return False
            except OSError:
                return True
            return False

        until(cut)
    assert service.ask("GET", "/health/live").status == 200


def test_connections_are_capped_for_each_address(service: Service, photo: bytes) -> None:
    clients = [service.socket("127.0.2.1") for _ in range(110)]
    try:
        refused = 0
        for client in clients:
            client.settimeout(0.05)
            try:
                refused += client.recv(12).startswith(b"HTTP/1.1 429")
            except TimeoutError:
                continue
        assert refused == 10
        assert service.predict(photo).status == 200, "others are served"
    finally:
        for client in clients:
            client.close()
    until(lambda: service.ask("GET", "/health/live", source="127.0.2.1").status == 200)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels; its data is a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100))


def many_scans() -> bytes:
    """A progressive JPEG of 900 x 900 pixels that ends with thousands of refinements of nothing."""
    file = io.BytesIO()
    Image.new("L", (900, 900)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + 5_000 * last + data[-2:]


def hostile(photo: bytes) -> list[bytes]:
    """Files that are no image that is taken, and what they were made into."""
    picture = Image.fromarray(scene())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "text")
    big = encoded(Image.new("L", (1100, 1000)), "JPEG")
    whole = [
        bomb(14_000, 14_000),
        bomb(13_000, 13_000),
        bomb(2**31 - 1, 2**31 - 1),
        bomb(30_000, 1),
        big,
        many_scans(),
        encoded(Image.new("L", (1100, 1000)), "WEBP"),
        encoded(Image.new("L", (1100, 1000)), "PNG"),
        *(encoded(picture, kind) for kind in ("GIF", "BMP", "TIFF", "PPM", "ICO", "EPS", "PDF")),
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!doctype html><html><script>alert(1)</script></html>",
        b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)",
        archive.getvalue(),
        gzip.compress(photo),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\0" * 1000,
        b"http://169.254.169.254/latest/meta-data/",
        b"file:///etc/passwd",
    ]
    rng = np.random.default_rng(0)
    while len(whole) < BOMBS:  # cut short, so that none of them is whole by chance
        kind = ("JPEG", "PNG", "WEBP")[len(whole) % 3]
        data = bytearray(encoded(picture, kind))
        del data[int(rng.integers(8, len(data) // 2)) :]
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        whole.append(bytes(data))
    return whole


def test_bombs_and_foreign_files_are_refused_with_a_reason(service: Service, photo: bytes) -> None:
    service.predict(photo)
    worker = service.worker
    before = memory(worker)
    forget_peak(worker)
    refused = 0
    for data in hostile(photo):
        reply = service.predict(data)
        assert 400 <= reply.status < 500, (reply.status, data[:20])
        assert reply.json["error"]["problem"] and reply.json["error"]["fix"]
        refused += 1
    assert memory(worker, "VmHWM") - before < 64 * MEGABYTE
    assert service.worker == worker, "none of them ended the worker"
    record("served: bombs and foreign files refused", refused, BOMBS, 0)
    taken = photo + b"PK\3\4 what follows a picture is not looked at"
    assert service.predict(taken).json["results"][0]["predictions"]


def test_what_comes_too_fast_is_refused_with_a_time_to_come_again(
    service: Service, photo: bytes
) -> None:
    large = encoded(Image.effect_noise((1000, 990), 60), "PNG")  # long to decode
    before = memory(service.process.pid)
    began = time.monotonic()
    replies: list[tuple[Reply, float]] = []

    def client(number: int) -> None:
        while time.monotonic() - began < BURST:
            sent = time.monotonic()
            reply = service.ask("POST", "/v1/predict", large, source=elsewhere(number))
            replies.append((reply, time.monotonic() - sent))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(48)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory(service.process.pid) - before < 64 * MEGABYTE
    statuses = [reply.status for reply, _ in replies]
    assert set(statuses) == {200, 503}
    assert all("retry-after" in reply.headers for reply, _ in replies if reply.status == 503)
    times = sorted(seconds for reply, seconds in replies if reply.status == 200)
    on_the_way = 1.0  # to the service and back, beside 48 clients on the same cores
    assert times[int(0.99 * (len(times) - 1))] <= LIMITS["answer_seconds"] + on_the_way
    assert service.predict(photo).status == 200
    record("served: a burst answered in time or refused", len(statuses), len(statuses), BURST)


def test_who_left_is_not_computed_for(service: Service, photo: bytes) -> None:
    """The worker stands still for a moment, with as much as it takes; the others wait."""
    until(lambda: service.metric("resnets_queued_images") == 0)
    before = service.metric("resnets_batch_images_count")
    worker = service.worker
    window = 2 * BATCH
    answered = left = 0
    while left < CANCELS:
        os.kill(worker, signal.SIGSTOP)
        with ThreadPoolExecutor(window) as pool:
            busy = [pool.submit(service.predict, photo) for _ in range(window)]
            until(lambda: service.metric("resnets_queued_images") == window)
            some = [service.socket() for _ in range(10)]
            for client in some:
                client.sendall(head(service, f"Content-Length: {len(photo)}") + photo)
            until(lambda: service.metric("resnets_queued_images") == window + 10)
            for client in some:
                client.close()
            left += len(some)
            until(lambda: service.metric("resnets_queued_images") == window)
            os.kill(worker, signal.SIGCONT)
            answered += sum(each.result().status == 200 for each in busy)
        until(service.ready)
    computed = service.metric("resnets_batch_images_count") - before - answered
    record("served: requests withdrawn and not computed", left - int(computed), left, 0)
    assert answered and computed <= left / 100


def test_no_path_leads_to_a_file(service: Service) -> None:
    rng = np.random.default_rng(0)
    up = ["..", "%2e%2e", "%252e%252e", "..%2f", "..%5c", ".%00.", "%c0%ae%c0%ae", "....", ".;."]
    ends = ["etc/passwd", "etc%2fpasswd", "src/resnets/errors.py", "app.py", "model.json", "page/"]
    first = ["/", "//", "/report/", "/page/", "/v1/", "/static/", "/page.js/", "file:///", "/%2f"]
    found = 0
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    for _ in range(PATHS):
        steps = "/".join(rng.choice(up) for _ in range(int(rng.integers(1, 8))))
        path = f"{rng.choice(first)}{steps}/{rng.choice(ends)}"
        connection.request("GET", path, headers={"Range": "bytes=0-100,5-,-1"})
        reply = connection.getresponse()
        data = reply.read()
        found += reply.status in (400, 404) and b"root:" not in data and len(data) < 300
        if reply.getheader("connection") == "close":
            connection.close()
    connection.close()
    record("served: paths that lead to no file", found, PATHS, 0)
    assert found == PATHS
