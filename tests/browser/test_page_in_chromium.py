"""The page in a real browser, headless: what moves, what opens, what is loaded, and whether everyone can read it.

Chromium is Debian's (`apt-get install chromium`), driven by playwright, which downloads no browser of its own.
"""

import os
import shutil

import page
import pytest
from made_up import CLAIMS, HOSTILE, MadeUp
from nepotism.page.conditions import PlannedArm

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
# As many pictures as the default experiment has.
LARGE = (
    PlannedArm("none", "A ratio of generated rows.", ("0", "25", "100"), (1, 2, 3), "base"),
    PlannedArm("histogram_match", "Match colours.", ("100",), (1, 2, 3), "base"),
    PlannedArm("sifid_cull", "Drop images.", ("100",), (1, 2, 3), "base"),
    PlannedArm("heal", "On real rows only.", ("100",), (4, 5, 6), "base", "none"),
)

# Every text that is shown with the contrast of its colour and its background, and what WCAG AA asks of it.
CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (above, below) => above.slice(0, 3).map((each, i) => each * above[3] + below[i] * (1 - above[3])).concat(1);
  const background = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.push(rgba(getComputedStyle(each).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reduceRight((below, above) => over(above, below), [255, 255, 255, 1]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((each) => each / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, style, noscript, option, title")) continue;
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const style = getComputedStyle(element);
    const behind = background(element);
    const ink = over(rgba(element.closest("svg") ? style.fill : style.color), behind);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    found.push({ text: walker.currentNode.textContent.trim().slice(0, 40), ratio: ratio(ink, behind), least: large ? 3 : 4.5 });
  }
  for (const element of document.querySelectorAll(".mark, .line .curve, .floor, input, button, select")) {
    if (!element.checkVisibility() || element.classList.contains("picture")) continue;
    const style = getComputedStyle(element);
    const edge = element.matches("button, select") ? style.borderTopColor : element.matches("input") ? style.accentColor
      : element.matches(".mark") ? style.color : style.stroke;
    const behind = background(element);
    found.push({ text: element.outerHTML.slice(0, 60), ratio: ratio(over(rgba(edge), behind), behind), least: 3 });
  }
  return found;
}"""


@pytest.fixture(scope="module")
def playwright():
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def open_browser(playwright, tmp_path_factory):
    """Opens browsers with a profile of their own, all of which end with the tests of this file."""
    opened = []

    def opens(**settings):
        profile = tmp_path_factory.mktemp("profile")
        opened.append(
            playwright.chromium.launch_persistent_context(
                profile, executable_path=CHROMIUM, headless=True, args=FLAGS, **settings
            )
        )
        return opened[-1]

    yield opens
    for browser in opened:
        browser.close()


@pytest.fixture(scope="module")
def browser(open_browser):
    return open_browser(viewport=DESKTOP)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = MadeUp(tmp_path_factory.mktemp("made-up"))
    page.run(made.arguments())
    return made


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    made = MadeUp(tmp_path_factory.mktemp("large"), groups=30, per_group=3, arms=LARGE)
    page.run(made.arguments())
    return made.folder / "index.html"


@pytest.fixture
def opened(browser, made):
    """The page in a tab of its own. What its console says, and what the browser asked for, is looked at in the end."""
    tab = browser.new_page()
    tab.set_viewport_size(DESKTOP)
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    network = browser.new_cdp_session(tab)
    network.send("Network.enable")
    network.on("Network.requestWillBeSent", lambda event: asked.append(event["request"]["url"]))
    address = (made.folder / "index.html").as_uri()
    tab.goto(address)
    yield tab
    tab.wait_for_timeout(100)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    tab.close()


def shown(tab):
    """What the large picture is, and what stands beside it."""
    return (
        tab.get_attribute("#picture img", "src"),
        tab.inner_text("#fact-id"),
        tab.inner_text("#fact-origin"),
        tab.inner_text("#fact-score"),
    )


def is_open(tab):
    return tab.evaluate("document.getElementById('lineage').open")


def focus(tab):
    return tab.evaluate("document.activeElement.id || document.activeElement.dataset.slot")


def test_the_slider_moves_the_picture_and_its_text(opened):
    last = shown(opened)
    assert last[1].startswith("none/ratio-100/seed-0/iteration-3/samples/")
    assert opened.inner_text("#iteration-text") == "3"
    walls = opened.eval_on_selector_all("#wall img", "all => all.map(each => each.src)")
    opened.focus("#iteration")
    opened.keyboard.press("ArrowLeft")
    before = shown(opened)
    assert before[1] == last[1].replace("iteration-3", "iteration-2")
    assert before[0] != last[0]
    assert before[2] == "generated by the model after 2 retrainings"
    assert opened.inner_text("#iteration-text") == "2"
    assert opened.eval_on_selector_all("#wall img", "all => all.map(each => each.src)") != walls
    opened.keyboard.press("Home")
    assert shown(opened)[2] == "generated by the base model"
    assert opened.get_attribute("#iteration", "aria-valuetext") == "the base model"
    assert opened.get_attribute("#strip [aria-current]", "data-step") == "0"
    opened.keyboard.press("End")
    assert shown(opened) == last


def test_every_picture_of_the_strip_can_be_chosen(opened):
    steps = opened.eval_on_selector_all("#strip button", "all => all.map(each => each.dataset.step)")
    assert steps == ["real", "0", "1", "2", "3"]
    opened.click("#strip [data-step='1']")
    assert opened.input_value("#iteration") == "1"
    assert opened.get_attribute("#strip [aria-current]", "data-step") == "1"


def test_conditions_and_slots_can_be_chosen(opened):
    assert opened.eval_on_selector_all("#condition option", "all => all.map(each => each.textContent)") == [
        "0 % generated", "50 % generated", "100 % generated", "histogram_match, 100 % generated", "heal, after 100 % generated",
    ]  # fmt: skip
    opened.select_option("#condition", label="heal, after 100 % generated")
    # The same number of retrainings: before healing it is another arm's.
    assert shown(opened)[1].startswith("none/ratio-100/seed-0/iteration-3/")
    opened.focus("#iteration")
    opened.keyboard.press("End")
    assert shown(opened)[1].startswith("heal/ratio-100/seed-0/iteration-5/")
    assert opened.inner_text("#about") == "Goes on from a finished cell, on real rows only."
    opened.select_option("#slot", "0")
    assert shown(opened)[1].endswith("/group-00/000")
    # A caption is a text, whatever it says.
    assert opened.inner_text("#fact-caption") == HOSTILE
    assert "broken" not in opened.title()


def test_lineage_opens_by_a_click_and_by_the_keyboard_and_closes_by_escape(opened):
    opened.click("#picture")
    assert is_open(opened)
    assert focus(opened) == "lineage-title"
    text = opened.inner_text("#lineage-body")
    # All rows are generated: real images are only where the first of them came from.
    assert "That model descends from 6 real images of this experiment: 0 that it" in text
    assert "Trained on 6 images: 0 real, 6 generated after 2 retrainings." in text
    assert "Trained on 6 images: 0 real, 6 generated by the base model." in text
    assert (
        text.index("Model after 3")
        < text.index("Model after 2")
        < text.index("Model after 1")
        < text.index("Base model")
    )
    assert opened.locator("#lineage .mosaic .source").count() == 6
    opened.keyboard.press("Escape")
    assert not is_open(opened)
    assert focus(opened) == "picture"
    opened.keyboard.press("Enter")
    assert is_open(opened)
    opened.keyboard.press("Tab")
    assert focus(opened) == "lineage-close"
    opened.keyboard.press("Enter")
    assert not is_open(opened)


def test_every_picture_of_the_wall_has_a_lineage_and_keeps_the_focus(opened):
    opened.select_option("#condition", label="50 % generated")
    opened.click("#wall [data-slot='4']")
    assert is_open(opened)
    # Half of the slots are generated: this one is not.
    text = opened.inner_text("#lineage-body")
    assert "Trained on 6 images: 3 real, 3 generated after 2 retrainings." in text
    assert "real/made-up/group-02/000" in text
    assert (
        "6 real images of this experiment: 3 that it or a model before it was trained on, and 3 only as sources" in text
    )
    opened.keyboard.press("Escape")
    assert focus(opened) == "4"
    assert opened.input_value("#slot") == "4"


def test_a_real_image_descends_from_nothing(opened):
    opened.click("#strip [data-step='real']")
    assert opened.inner_text("#lineage-title") == "Lineage of a real image"
    opened.click("#lineage-close")
    assert not is_open(opened)


def test_everything_can_be_reached_by_the_keyboard(opened):
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for _ in range(4):
        opened.keyboard.press("Tab")
    reached = "[...document.querySelectorAll('a, button, select, input, summary, [tabindex=\"0\"]')]"
    wanted = opened.evaluate(f"{reached}.filter(each => each.checkVisibility()).length")
    seen = set()
    for _ in range(wanted + 5):
        opened.keyboard.press("Tab")
        seen.add(opened.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
        style = opened.evaluate(
            "getComputedStyle(document.activeElement).outlineStyle + document.activeElement.tagName"
        )
        assert style.startswith(("solid", "auto")) or style.endswith("BODY"), style
    assert len(seen) >= wanted


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_contrast_is_that_of_wcag_aa(opened, scheme, size):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size(size)
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    opened.click("#picture")
    opened.wait_for_timeout(50)
    found = opened.evaluate(CONTRASTS)
    assert len(found) > 150
    low = [each for each in found if each["ratio"] < each["least"]]
    assert not low, low[:5]


def test_without_colour_shapes_and_words_tell_the_same(opened):
    marks = opened.eval_on_selector_all(
        ".verdict",
        "all => all.map(each => [each.className, each.querySelector('svg').innerHTML, each.textContent.trim()])",
    )
    shapes = {kind: shape for kind, shape, _ in marks}
    assert len({kind for kind, *_ in marks}) == len(set(shapes.values())) == 6
    assert all(shapes[kind] == shape and words for kind, shape, words in marks)
    assert {claim.verdict for claim in CLAIMS} <= {words for *_, words in marks}
    lines = opened.eval_on_selector_all(
        ".legend .line",
        "all => all.map(each => each.querySelector('.symbol').getAttribute('d')"
        " + each.querySelector('.curve').getAttribute('stroke-dasharray'))",
    )
    assert len(lines) == len(set(lines)) == 5


def test_a_phone_needs_no_sideways_scrolling(opened):
    opened.set_viewport_size(PHONE)
    width = "document.documentElement.scrollWidth"
    assert opened.evaluate(width) == PHONE["width"]
    opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert opened.evaluate(width) == PHONE["width"]
    opened.click("#lineage-button")
    box = opened.locator("#lineage").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    assert opened.evaluate("(each => each.scrollWidth <= each.clientWidth)(document.getElementById('lineage'))")
    opened.keyboard.press("Escape")
    # Large enough for a finger.
    small = opened.evaluate(
        "[...document.querySelectorAll('button, select, input')].filter(each => each.checkVisibility())"
        ".map(each => each.getBoundingClientRect()).filter(each => each.height < 24 || each.width < 24).length"
    )
    assert small == 0


def test_without_javascript_texts_figure_tables_and_a_slot_are_there(open_browser, made):
    tab = open_browser(java_script_enabled=False).new_page()
    tab.goto((made.folder / "index.html").as_uri())
    for words in (
        "Retrained 3 times on its own images only",
        "the scores stay flat",
        "finetune",
        "With JavaScript, all of them can be looked through",
    ):
        assert tab.get_by_text(words).first.is_visible()
    assert tab.locator("svg.panel").count() == 2
    assert tab.locator("table.still img").first.is_visible()
    assert not tab.locator("#viewer").is_visible()


def test_a_page_as_large_as_the_defaults_is_small_and_quick(browser, large):
    assert large.stat().st_size < 5_000_000
    painted, worked = [], []
    for _ in range(3):
        tab = browser.new_page()
        meter = browser.new_cdp_session(tab)
        meter.send("Performance.enable", {"timeDomain": "threadTicks"})
        tab.goto(large.as_uri())
        metrics = {each["name"]: each["value"] for each in meter.send("Performance.getMetrics")["metrics"]}
        worked.append(metrics["TaskDuration"])
        painted.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        assert tab.locator("#wall img").count() == 90
        tab.close()
    # Processor time of the page's thread until all is shown: other work on this machine does not lengthen it.
    assert 0 < min(worked) < 0.8, worked
    # The first paint by the clock, which only a machine tells that has a core to spare.
    if os.getloadavg()[0] < len(os.sched_getaffinity(0)):
        assert min(painted) < 1000, painted
