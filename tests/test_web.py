"""``--format web``: the site in headless Chromium answers as PyTorch, without a network too."""

import hashlib
import io
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from browsing import chromium, needs_chromium, serving, watched
from made_up import encoded
from resnets.checking import check
from resnets.decoding import decode
from resnets.description import describe
from resnets.errors import ConfigError
from resnets.exporting import export_model
from resnets.exporting.web import (
    PAGE,
    RUNTIME_FILES,
    RUNTIME_VERSION,
    as_published,
    find_runtime,
    site_files,
)
from resnets.prediction import load
from resnets.prediction.exports import exports_of
from resnets.sealing import replace_folder
from runs import fit, save_folder

pytest.importorskip("onnxruntime")
pytest.importorskip("playwright")


def runtime_is_there():
    try:
        return bool(find_runtime())
    except ConfigError:
        return False


pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not runtime_is_there(), reason="needs onnxruntime-web"),
]
ASK = """async (images) => {
    const {connect} = await import("./backend.js");
    globalThis.backend ??= await connect({loading() {}, place() {}});
    const answers = [];
    for (const image of images) {
        const bytes = Uint8Array.from(atob(image), (c) => c.charCodeAt(0));
        const {predictions} = await globalThis.backend.predict(new Blob([bytes]));
        answers.push(predictions.map(({label, probability}) => [label, probability]));
    }
    return answers;
}"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    save_folder(folder / "data", 160, 20, odd=True)
    settings = {"epochs": 4, "image_size": 16, "batch_size": 16}
    return fit(folder / "data", model="resnet20", out=folder / "run", flip=False, **settings).path


@pytest.fixture(scope="module")
def site(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resnets.exporting.proof.SECONDS", 0.0)
        return export_model(run, "web", out=run.parent / "site").path


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser, site):
    with serving(site) as address, watched(browser) as page:
        page.goto(address)
        page.get_by_text("works without a network").wait_for()
        yield page


def ask(page, files):
    """Label -> probability, of each file, by the module that the page itself uses."""
    import base64

    found = page.evaluate(ASK, [base64.b64encode(data).decode() for data in files])
    return [dict(answer) for answer in found]


def expected(run, images):
    return [{p.label: p.probability for p in ranked} for ranked in load(run).predict(images, top=2)]


def difference(found, wanted):
    """The largest of a probability; the best labels have to be the same."""
    for row, other in zip(found, wanted, strict=True):
        assert max(row, key=row.__getitem__) == max(other, key=other.__getitem__)
    return max(
        abs(row[label] - other[label])
        for row, other in zip(found, wanted, strict=True)
        for label in other
    )


def photos(run):
    return [path.read_bytes() for path in sorted((run.parent / "data" / "test").rglob("*.png"))]


# In the browser ---------------------------------------------------------------------------------


def test_equal_pixels_get_pytorchs_probabilities(page, run):
    rng = np.random.default_rng(0)
    noise = [
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for height, width in ((1, 1), (5, 90), (16, 16), (333, 17), (480, 640))
    ]
    files = [*photos(run), *(encoded(Image.fromarray(pixels)) for pixels in noise)]
    grey = Image.fromarray(noise[-1][..., 0])
    files += [encoded(grey), encoded(grey.convert("P"))]
    assert difference(ask(page, files), expected(run, files)) < 1e-4


def test_jpeg_files_are_upright_and_close(page, run):
    files = []
    for turn in range(1, 9):
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = turn
        smooth = Image.open(io.BytesIO(photos(run)[turn])).resize((120, 80))
        smooth.save(file, "JPEG", quality=90, exif=exif.tobytes())
        files.append(file.getvalue())
    assert difference(ask(page, files), expected(run, files)) < 2e-2


def test_transparency_lies_over_the_models_background(page, run):
    pixels = np.asarray(Image.open(io.BytesIO(photos(run)[0])).convert("RGBA")).copy()
    pixels[: len(pixels) // 2, :, 3] = 0
    pixels[len(pixels) // 2 :, ::2, 3] = 128
    file = encoded(Image.fromarray(pixels))
    assert difference(ask(page, [file]), expected(run, [file])) < 2e-2


@pytest.mark.slow
def test_real_photos_get_pytorchs_labels(page, run, real_data):
    paths = sorted((real_data("flowers") / "test").rglob("*.jpg"))[::30]
    jpegs = [path.read_bytes() for path in paths]
    pixels = [encoded(Image.fromarray(decode(path))) for path in paths]
    wanted = expected(run, jpegs)
    assert difference(ask(page, pixels), wanted) < 1e-4
    assert difference(ask(page, jpegs), wanted) < 2e-2


def test_what_is_no_picture_or_too_large_is_refused(page):
    for data, said in ((b"no picture", "undecodable"), (_huge(), "too-large")):
        with pytest.raises(Exception, match=said):
            ask(page, [data])


def _huge():
    return encoded(Image.new("1", (9_000, 9_000)))


def test_the_page_shows_the_answer_and_sends_nothing(page, run):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    file = {"name": "a.png", "mimeType": "image/png", "buffer": photos(run)[0]}
    page.set_input_files("#files", [file])
    (best,) = load(run).predict(photos(run)[0])
    shown = f"{best.label} {100 * best.probability:.1f}\u202f%"
    assert " ".join(page.locator(".bars li").first.inner_text().split("\n")) == shown
    assert page.get_by_role("button", name="evidence").count() == 0
    assert not [url for url in asked if not url.startswith(("blob:", "data:"))]


def test_a_site_that_was_loaded_works_without_its_server(browser, site, run):
    with watched(browser) as page:
        with serving(site) as address:
            page.goto(address)
            page.get_by_text("works without a network").wait_for()
            assert not page.evaluate("crossOriginIsolated")
        page.reload()
        page.get_by_text("works without a network").wait_for()
        assert page.evaluate("crossOriginIsolated"), "then on several cores"
        files = photos(run)
        assert difference(ask(page, files), expected(run, files)) < 1e-4


@pytest.mark.slow
def test_a_new_export_reaches_those_who_had_the_old_one(browser, site, tmp_path):
    place = tmp_path / "site"
    shutil.copytree(site, place)
    with watched(browser) as page, serving(tmp_path) as address:
        page.goto(f"{address}site/")
        page.get_by_text("works without a network").wait_for()
        card = json.loads((site / "model.json").read_text()) | {"label_names": ["new", "names"]}
        model = {"model.onnx": (site / "model.onnx").read_bytes()}
        replace_folder(place, site_files(model, card, runtime=find_runtime()))
        page.reload()
        page.evaluate("navigator.serviceWorker.ready.then((kept) => kept.update())")
        page.wait_for_timeout(1_000)
        page.reload()
        page.get_by_text("tells apart new and names").wait_for()
        kept = page.evaluate("caches.keys()")
        assert len([name for name in kept if " site " in name]) == 1


def test_a_model_that_is_not_the_one_exported_is_not_run(browser, site, tmp_path):
    place = tmp_path / "site"
    shutil.copytree(site, place)
    data = bytearray((place / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (place / "model.onnx").write_bytes(data)
    with watched(browser) as page, serving(place) as address:
        page.goto(address)
        page.get_by_text("model.onnx is not the one that was exported").wait_for()


def test_where_nothing_can_be_kept_it_answers_all_the_same(browser, site, run):
    with watched(browser) as page, serving(site) as address:
        quota = {"origin": address.rstrip("/"), "quotaSize": 1_000}
        page.context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", quota)
        page.goto(address)
        page.locator("#card dl").wait_for()
        assert page.locator("#place").inner_text() == "Your pictures stay on this device."
        assert difference(ask(page, photos(run)), expected(run, photos(run))) < 1e-4


@pytest.mark.slow
def test_two_sites_of_one_host_keep_to_themselves(browser, site, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(site, tmp_path / name)
    with watched(browser) as page, serving(tmp_path) as address:
        for name in ("one", "two"):
            page.goto(f"{address}{name}/")
            page.get_by_text("works without a network").wait_for()
        assert len(page.evaluate("caches.keys()")) == 4


# The folder -------------------------------------------------------------------------------------


def test_the_folder_is_the_page_the_model_and_the_runtime_with_their_sums(site):
    files = {path.name: path.read_bytes() for path in site.iterdir()}
    sums = dict(
        reversed(line.split("  ")) for line in files.pop("SHA256SUMS").decode().splitlines()
    )
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    page = {path.name: path.read_bytes() for path in PAGE.iterdir()}
    same = {name for name in page if files.get(name) == page[name]}
    assert page.keys() - same == {"backend.js", "remote.js"} and "remote.js" not in files
    assert b"MIT License" in files["onnxruntime.LICENSE.txt"]
    assert files["onnxruntime.wasm"][:4] == b"\0asm"


def test_a_site_tells_nothing_of_the_machine_it_was_made_on(site, run):
    own = {name for name, _ in RUNTIME_FILES.values()} | {"onnxruntime.ThirdPartyNotices.txt"}
    for file in site.iterdir():
        data = file.read_bytes()
        for place in (run.parent, Path.home(), PAGE, Path(torch.__file__).parent):
            assert str(place).encode() not in data or file.name in own, file


def test_a_published_card_has_no_folders_and_no_images(site):
    card = json.loads((site / "model.json").read_text())
    private = {"data": {"source": "/home/me"}, "training": {"start_from": "/home/me/runs"}}
    card["scores"] |= {name: ["my.jpg"] for name in ("mistakes", "left_out", "notes")}
    card["export"]["proof"]["changed_images"] = [{"name": "my.jpg"}]
    published = as_published(card | private).decode()
    assert "/home/me" not in published and "my.jpg" not in published
    assert json.loads(published)["scores"]["accuracy"] == card["scores"]["accuracy"]


def test_a_site_is_an_export_like_any_other(site, run, capsys):
    (part,) = check(site)
    assert part.whole and "web, fp32" in part.found
    assert describe(site).architecture.startswith("resnet20")
    assert difference(
        [{p.label: p.probability for p in row} for row in load(site).predict(photos(run), top=2)],
        expected(run, photos(run)),
    ) < 1e-4  # fmt: skip
    assert load(site).notes == () and exports_of(run) == []


@pytest.mark.parametrize("name", ["page.js", "onnxruntime.wasm", "model.json", "SHA256SUMS"])
def test_check_finds_a_changed_file(site, tmp_path, name):
    shutil.copytree(site, tmp_path / "site")
    file = tmp_path / "site" / name
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))
    (part,) = check(tmp_path / "site")
    assert not part.whole


def test_sums_that_name_files_elsewhere_are_not_followed(site, tmp_path):
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "secret").write_text("secret")
    with open(tmp_path / "site" / "SHA256SUMS", "a") as sums:
        sums.write(f"{hashlib.sha256(b'secret').hexdigest()}  ../secret\n")
    (part,) = check(tmp_path / "site")
    assert not part.whole


def test_another_package_than_the_pinned_one_is_not_unpacked(tmp_path, monkeypatch):
    tool = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "web.py"))

    def npm(command, **how):
        Path(command[-1], "onnxruntime-web.tgz").write_bytes(b"another package")

    monkeypatch.setattr("subprocess.run", npm)
    with pytest.raises(SystemExit, match="SHA-512"):
        tool["fetch"](tmp_path)


def test_a_missing_or_other_runtime_is_refused_before_anything_is_written(run, tmp_path):
    for content in (None, b"another version"):
        folder = tmp_path / "dist"
        if content is not None:
            folder.mkdir()
            for name in RUNTIME_FILES:
                (folder / name).write_bytes(content)
        with pytest.raises(ConfigError, match=rf"npm install onnxruntime-web@{RUNTIME_VERSION}"):
            export_model(run, "web", out=tmp_path / "site", runtime=folder)
    assert not (tmp_path / "site").exists()
    page = Path(__file__).parents[1] / "docs" / "web.md"
    assert f"npm install onnxruntime-web@{RUNTIME_VERSION}" in page.read_text(encoding="utf-8")
