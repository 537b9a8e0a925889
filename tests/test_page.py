"""The page in headless Chromium, before a service that speaks HTTP as ours does."""

import io
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from browsing import answers, chromium, hand_over, listening, needs_chromium, watched
from made_up import encoded
from resnets.checkpoint import seal
from resnets.config import Preprocess
from resnets.exporting.web import PAGE, SITE
from resnets.models import create_model
from resnets.prediction import load
from stub_service import HOSTILE, Service, handler_of

pytest.importorskip("playwright")
pytestmark = needs_chromium

NAMES = ["cat", HOSTILE, "javascript:alert(3)"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    preprocess = Preprocess(input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.05,) * 3)
    card = {
        "architecture": "resnet20",
        "options": {},
        "num_classes": len(NAMES),
        "input_size": [3, 16, 16],
        "label_names": NAMES,
        "preprocess": preprocess.to_dict(),
    }
    weights = create_model("resnet20", num_classes=len(NAMES), seed=1).state_dict()
    seal(folder / "model", weights, card)
    return load(folder / "model")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def service(classifier):
    return Service(classifier)


@pytest.fixture
def address(service):
    with listening(handler_of(service)) as address:
        yield address


@pytest.fixture
def page(browser, address):
    with watched(browser) as page:
        page.goto(address)
        yield page


def photo(seed=0, width=40, height=30, kind="PNG"):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return encoded(coarse.resize((width, height)), kind)


def given(name, data, kind="image/png"):
    return {"name": name, "mimeType": kind, "buffer": data}


def expected(classifier, *files):
    return [
        {each.label: round(100 * each.probability, 1) for each in classifier.predict(file, top=5)}
        for file in files
    ]


def same(found, wanted):
    assert [list(row) for row in found] == [list(row) for row in wanted], "labels in order"
    for row, other in zip(found, wanted, strict=True):
        assert row == pytest.approx(other, abs=0.11)


# Pictures come in -------------------------------------------------------------------------------


def test_chosen_pictures_get_the_classifiers_answers(page, classifier):
    files = [photo(seed) for seed in range(3)]
    page.set_input_files("#files", [given(f"{i}.png", data) for i, data in enumerate(files)])
    same(answers(page, 3), expected(classifier, *files))
    assert page.locator("article").first.get_by_text("0.png").is_visible()
    widths = (
        page.locator("article")
        .first.locator(".bar span")
        .evaluate_all(
            "spans => spans.map((s) => s.getBoundingClientRect().width / s.parentNode.clientWidth)"
        )
    )
    first = [100 * width for width in widths]
    assert first == pytest.approx(list(expected(classifier, files[0])[0].values()), abs=0.5)


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_pictures_that_are_dropped_or_pasted_are_answered(page, classifier, kind):
    files = {"one.png": photo(1), "two.png": photo(2)}
    hand_over(page, kind, files)
    same(answers(page, 2), expected(classifier, *files.values()))
    assert "dragged" not in (page.locator("#intake").get_attribute("class") or "")


def test_later_pictures_come_first_and_all_can_be_cleared(page, classifier):
    for seed in (1, 2):
        page.set_input_files("#files", [given(f"{seed}.png", photo(seed))])
        answers(page, seed)
    same(answers(page, 2), expected(classifier, photo(2), photo(1)))
    page.get_by_role("button", name="Clear").click()
    assert page.locator("article").count() == 0
    page.set_input_files("#files", [given("2.png", photo(2))])  # the same file again
    same(answers(page, 1), expected(classifier, photo(2)))


def test_everything_can_be_done_with_the_keyboard(page):
    page.on("filechooser", lambda chooser: chooser.set_files([given("a.png", photo())]))
    page.locator("#model").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    page.keyboard.press("Enter")
    answers(page, 1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "clear"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # show where the evidence lies
    page.locator(".map").wait_for()
    first = page.locator(".map").get_attribute("src")
    page.keyboard.press("ArrowRight")  # the focus is on the first of two radio buttons
    assert page.locator(".map").get_attribute("src") != first
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    assert page.locator(".map").evaluate("map => getComputedStyle(map).opacity") == "0"
    page.keyboard.press("End")
    assert page.locator(".map").evaluate("map => getComputedStyle(map).opacity") == "1"


# What is said -----------------------------------------------------------------------------------


def test_the_heatmaps_are_those_of_the_answer_and_the_runner_up(page, classifier, service):
    wide = photo(3, 60, 20)
    page.set_input_files("#files", [given("a.png", wide)])
    answers(page, 1)
    page.get_by_role("button", name="evidence").click()
    overlay = page.locator(".map")
    overlay.wait_for()
    ranked = classifier.predict(wide, top=2)
    wanted = service.explain(wide, ranked[0].label)["maps"]
    assert overlay.get_attribute("src") == "data:image/png;base64," + wanted[0]["png"]
    assert [text.strip() for text in page.locator("fieldset label").all_inner_texts()] == [
        each.label for each in ranked
    ]
    page.get_by_role("radio").nth(1).check()
    assert overlay.get_attribute("src") == "data:image/png;base64," + wanted[1]["png"]
    assert ranked[1].label in overlay.get_attribute("alt")
    assert overlay.bounding_box() == page.locator(".picture img").first.bounding_box()
    page.get_by_role("slider", name="Heatmap").fill("25")
    assert overlay.evaluate("map => getComputedStyle(map).opacity") == "0.25"


def test_a_model_that_cannot_be_looked_into_has_no_heatmap(page, service):
    page.set_input_files("#files", [given("a.png", photo())])
    answers(page, 1)
    service.explains = False  # an export has taken the model's place
    page.get_by_role("button", name="evidence").click()
    page.locator(".evidence").wait_for(state="detached")
    page.reload()
    page.set_input_files("#files", [given("c.png", photo(2))])
    answers(page, 1)
    assert not page.locator(".evidence").count() and not page.locator(".note").count()


def test_doubtful_answers_are_called_unsure_in_words(page, service, classifier):
    service.threshold = 1.0
    page.reload()
    page.set_input_files("#files", [given("a.png", photo())])
    answers(page, 1)
    (best,) = classifier.predict(photo())
    assert page.locator("h3").inner_text().split() == ["perhaps", *best.label.split()]
    note = page.locator(".unsure").inner_text()
    assert note.startswith("Unsure") and "100.0\u202f%" in note
    assert "unsure" in page.locator("#live").inner_text()


def test_every_answer_is_announced(page, classifier):
    live = page.locator("[aria-live=polite]")
    page.set_input_files("#files", [given("a.png", photo())])
    answers(page, 1)
    (best,) = classifier.predict(photo())
    assert live.inner_text() == f"a.png: {best.label}, {100 * best.probability:.1f}\u202f%"


def test_the_card_of_the_model_is_told(page, classifier):
    told = page.locator("#model")
    told.wait_for()
    words = told.inner_text()
    for part in ("resnet20", "80.0\u202f%", "75.0\u202f%", "85.0\u202f%", "1.250", "1f" * 32):
        assert part in words
    assert "16 × 16" in words and "mean 0.5 0.5 0.5" in words
    assert told.locator(".chips li").all_inner_texts() == NAMES
    assert told.get_by_role("link").get_attribute("href") == "report"


def test_another_model_behind_the_service_is_told(page, service):
    page.get_by_text("1f" * 32).wait_for()
    service.model, service.threshold = "2e" * 32, 1.0
    page.set_input_files("#files", [given("a.png", photo())])
    page.get_by_text("2e" * 32).wait_for()
    page.locator(".unsure", has_text="100.0\u202f%").wait_for()
    assert page.locator("#card dl").count() == 1


def test_a_report_that_is_not_there_is_not_offered(page, service):
    service.report = False
    page.reload()
    page.locator("#model").wait_for()
    assert page.get_by_role("link").count() == 0


# What goes wrong --------------------------------------------------------------------------------


def test_what_is_no_picture_is_said_to_be_none(page, service):
    files = [given("a.txt", b"text", "text/plain"), given("b.png", b"no picture")]
    page.set_input_files("#files", [*files, given("c.png", photo())])
    answers(page, 1)
    notes = page.locator("article .note").all_inner_texts()
    assert "no picture" in notes[0] and len(notes) == 2
    assert [size for path, size in service.asked] == [len(b"no picture"), len(photo())]


def test_a_busy_service_is_asked_again_and_that_is_seen(page, service, classifier):
    service.refusals = [429, 503]
    page.set_input_files("#files", [given("a.png", photo())])
    page.get_by_text("busy. Trying again in 1").wait_for()
    same(answers(page, 1), expected(classifier, photo()))
    assert len(service.asked) == 3


def test_a_service_that_stays_busy_can_be_asked_later(page, service, classifier):
    service.refusals = [503] * 5
    page.set_input_files("#files", [given("a.png", photo())])
    page.locator(".note", has_text="stays busy").wait_for()
    page.get_by_role("button", name="Try again").click()
    same(answers(page, 1), expected(classifier, photo()))


def test_a_service_that_has_gone_is_named(browser, service):
    with watched(browser) as page:
        with listening(handler_of(service)) as address:
            page.goto(address)
            page.locator("#model").wait_for()
        page.set_input_files("#files", [given("a.png", photo())])
        page.locator(".note", has_text=f"{urlsplit(address).netloc} cannot").wait_for()


def test_a_token_is_asked_for_and_sent(page, service, classifier):
    service.token = "the right one"
    page.reload()
    dialog = page.get_by_role("dialog")
    for token in ("a wrong one", service.token):
        dialog.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
    page.locator("#model").wait_for()
    page.set_input_files("#files", [given("a.png", photo())])
    same(answers(page, 1), expected(classifier, photo()))


def test_who_has_no_token_is_told(page, service):
    service.token = "the right one"
    page.reload()
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.locator(".note", has_text="have its token").wait_for()


def test_names_that_are_scripts_are_shown_and_never_run(page, service):
    page.set_input_files("#files", [given(f"{HOSTILE[:30].replace('/', '')}.png", photo())])
    answers(page, 1)
    page.get_by_role("button", name="evidence").click()
    page.locator(".map").wait_for()
    service.refusals = [400]
    page.set_input_files("#files", [given("b.png", photo())])
    page.locator(".note", has_text=f"problem {HOSTILE}").wait_for()
    assert page.locator("script").count() == 1 and not page.locator("img[onerror]").count()
    # that no dialog opened and nothing was logged is seen when the page is closed


def test_the_policy_keeps_the_page_from_running_what_is_put_into_it(browser, address):
    trouble = []
    page = browser.new_page()
    page.on("console", lambda message: trouble.append(message.text))
    page.goto(address)
    page.locator("#model").wait_for()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hacked=1>')")
    page.wait_for_timeout(200)
    assert page.evaluate("typeof hacked") == "undefined"
    assert any("Content Security Policy" in line for line in trouble)
    page.close()


# Languages and sizes ----------------------------------------------------------------------------


def test_chinese_browsers_are_spoken_to_in_chinese_and_can_change(browser, address):
    with watched(browser, locale="zh-CN") as page:
        page.goto(address)
        page.set_input_files("#files", [given("a.png", photo())])
        answers(page, 1)
        page.get_by_role("button", name="显示判断依据的位置").click()
        page.locator(".map").wait_for()
        assert page.locator("html").get_attribute("lang") == "zh-Hans"
        left = page.locator("body").inner_text()
        english = {"resnets", "English", "resnet", "bilinear", "test", "rgb", "SHA", "png", "a"}
        for name in NAMES:
            left = left.replace(name, "")
        words = set(re.findall(r"[A-Za-z]{1,}", re.sub(r"[0-9a-f]{64}", "", left)))
        assert words <= english
        page.get_by_role("button", name="English").click()
        assert page.locator("h1").inner_text() == "What is in the picture?"
        assert page.get_by_role("slider", name="Heatmap").count() == 1
        assert not re.search(r"[\u4e00-\u9fff]", page.locator("main").inner_text())


def test_both_languages_say_everything():
    text = (PAGE / "words.js").read_text(encoding="utf-8")
    english, chinese = (
        dict(re.findall(r'^    "?([\w-]+)"?:\s+"(.*)",$', part, re.MULTILINE))
        for part in text.partition("const WORDS")[2].split("  zh: {")
    )
    assert english.keys() == chinese.keys() and len(english) > 50
    for key in english:
        values = [sorted(re.findall(r"\{\w+%?\}", words[key])) for words in (english, chinese)]
        assert values[0] == values[1], key
    files = [file for place in (PAGE, SITE) for file in place.glob("*.[jh]*")]
    used = "".join(file.read_text("utf-8") for file in files if file.name != "words.js")
    assert not [key for key in english if f'"{key}"' not in used and not key.startswith("crop-")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_is_enough(browser, service, address, scheme):
    service.threshold = 1.0
    with watched(browser, viewport={"width": 360, "height": 640}, color_scheme=scheme) as page:
        page.goto(address)
        long = "a" * 80 + ".png"
        page.set_input_files("#files", [given(long, photo(0, 900, 300)), given("b", b"x")])
        answers(page, 1)
        page.get_by_role("button", name="evidence").click()
        page.locator(".map").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(255, 255, 255)") == (scheme == "light")


def test_opened_as_a_file_it_says_how_to_open_it(browser, tmp_path):
    page = browser.new_page()
    page.goto((PAGE / "index.html").as_uri())
    page.get_by_text("python -m http.server").first.wait_for()
    page.close()


def test_pictures_are_upright_under_their_heatmaps(page, classifier, service):
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(photo(5, 60, 20))).save(turned, "JPEG", exif=exif.tobytes())
    page.set_input_files("#files", [given("a.jpg", turned.getvalue(), "image/jpeg")])
    same(answers(page, 1), expected(classifier, turned.getvalue()))
    box = page.locator(".picture img").bounding_box()
    assert box["height"] > box["width"]
