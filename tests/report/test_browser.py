"""The page in a real browser: nothing fails, nothing is fetched, and the viewer can be used."""

import shutil
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.report.planted import ATTACK
from tests.report.test_viewer import data_in

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"width": 390, "height": 844}
MOST_SECONDS, MOST_BYTES = 2.0, 3_000_000


@pytest.fixture(scope="session")
def browser(pytestconfig):
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        if pytestconfig.getoption("--no-browser"):
            pytest.skip("no browser is here, and --no-browser is given")
        pytest.fail("no Chromium is installed; --no-browser leaves these tests out")
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def opened(browser, written, anchor="", **options):
    """The page, and all that went wrong or was asked for while it is open."""
    context = browser.new_context(**options)
    page, heard = context.new_page(), []
    page.on("console", lambda m: heard.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: (heard.append("dialog"), dialog.dismiss()))
    own = written.report_file.resolve().as_uri()
    page.on("request", lambda r: None if r.url.startswith(own) else heard.append(r.url))
    page.goto(own + anchor)
    yield page
    context.close()
    assert heard == []


@pytest.fixture
def page_at(browser, written):
    with opened(browser, written) as page:
        yield page


def tokens(page):
    return page.locator("#viewer-text .tok")


def said(page):
    return page.locator("#viewer-said").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1400, "height": 900}, PHONE])
def test_nothing_fails_nothing_is_fetched_and_nothing_hangs_over(browser, written, scheme, size):
    with opened(browser, written, viewport=size, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        loaded = page.evaluate(
            "performance.timing.domComplete - performance.timing.navigationStart"
        )
        assert loaded < 1000 * MOST_SECONDS
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 22, 27)")
        assert page.evaluate("window.alert === undefined") is False  # an attack had its chance
    assert written.report_file.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(browser, written, scheme):
    with opened(browser, written, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        tokens(page).first.focus()
        # The policy lets no script in from here, so axe is run as the browser's own tool.
        context = page.context.browser.new_context(bypass_csp=True, color_scheme=scheme)
        inner = context.new_page()
        inner.goto(page.url)
        found = Axe().run(inner)
        context.close()
        assert found.violations_count == 0, found.generate_report()


def test_the_mouse_chooses_arm_context_and_token(page_at):
    page_at.get_by_role("radio", name="hyperfitted").click()
    assert "TTR 0.75" in said(page_at)
    assert "loops from token 3" in said(page_at)
    tokens(page_at).nth(1).hover()
    detail = page_at.locator("#viewer-detail").inner_text()
    assert "rank 4 in the original" in detail
    assert "probability 25.0 % there, 50.0 % in the tuned model" in detail
    assert "copied from a training window" in detail
    assert page_at.url.endswith("#viewer:hyperfitted:1:2")
    page_at.get_by_role("button", name="Next context").click()
    assert "loops" not in said(page_at)
    page_at.get_by_role("radio", name="original").click()
    assert "tuned model" not in page_at.locator("#viewer-detail").inner_text()


def test_the_keyboard_does_all_of_it(page_at):
    page_at.get_by_role("radio", name="hyperfitted").focus()
    page_at.keyboard.press("ArrowLeft")
    assert page_at.get_by_role("radio", name="original").is_checked()
    page_at.keyboard.press("ArrowRight")
    tokens(page_at).first.focus()
    page_at.keyboard.press("ArrowRight")
    page_at.keyboard.press("ArrowRight")
    chosen = page_at.locator("#viewer-text .chosen")
    assert chosen.get_attribute("data-place") == "2"
    assert "rank 11" in page_at.locator("#viewer-detail").inner_text()
    assert "< 0.1 %" in page_at.locator("#viewer-detail").inner_text()
    page_at.keyboard.press("ArrowDown")
    assert page_at.locator("#viewer-context").input_value() == "1"
    page_at.keyboard.press("1")
    assert page_at.get_by_role("radio", name="human").is_checked()
    page_at.keyboard.press("End")
    assert page_at.locator("#viewer-text .chosen").get_attribute("data-place") == "3"


def test_a_filter_leaves_the_texts_that_fit_and_says_where_none_does(page_at):
    page_at.get_by_role("radio", name="hyperfitted").click()
    page_at.get_by_role("button", name="Next context").click()
    page_at.locator("#viewer-filter").select_option("broken")
    assert page_at.locator("#viewer-context option").count() == 1
    assert page_at.locator("#viewer-context").input_value() == "0"
    page_at.get_by_role("radio", name="original").click()
    assert said(page_at) == "No text of original does that."
    page_at.locator("#viewer-filter").select_option("all")
    assert tokens(page_at).count() == 4


def test_an_address_opens_the_view_it_names(browser, written):
    with opened(browser, written, "#viewer:hyperfitted:2:3") as page:
        assert page.get_by_role("radio", name="hyperfitted").is_checked()
        assert page.locator("#viewer-context").input_value() == "1"
        assert page.locator("#viewer-text .chosen").get_attribute("data-place") == "2"
    with opened(browser, written, "#viewer:nobody:9:9") as page:
        assert tokens(page).count() == 4


def test_text_of_a_model_is_text(page_at, page):
    assert tokens(page_at).first.inner_text() == data_in(page)["texts"][0][0]["p"][0]
    assert "<script>alert(1)</script>" in ATTACK
    assert page_at.locator("#viewer-text script").count() == 0
    assert "<script>alert(1)</script>" in page_at.locator("#viewer-text").inner_text()


def test_without_script_the_same_texts_are_there(browser, written):
    with opened(browser, written, java_script_enabled=False) as page:
        assert page.locator("#viewer-view").is_hidden()
        assert page.locator("#examples .example").first.is_visible()
        assert "needs JavaScript" in page.locator("#viewer").inner_text()


def test_a_reason_opens_by_keyboard(page_at):
    summary = page_at.locator("#results .why summary", has_text="–").first
    summary.focus()
    page_at.keyboard.press("Enter")
    assert page_at.locator("#results .why[open] span").first.is_visible()
