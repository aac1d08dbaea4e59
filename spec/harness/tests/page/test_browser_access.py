"""The page is for all: by keyboard or by ear, in a narrow window, in the dark, on paper, without scripts."""

import pytest

from spec.harness.tests.page.looks import barriers, tab_stops, too_wide
from spec.harness.tests.page.runs import STATEMENTS

pytestmark = pytest.mark.slow  # starts Chromium
FIRST, *_, LAST = STATEMENTS
OPEN = "ids => document.querySelectorAll('details').forEach(it => { it.open = ids.includes(it.id); })"
STATES = {"closed": [], "open": list(STATEMENTS)}
BRIGHTNESS = """() => {
  const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g);
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
}"""
TAKES_FOCUS = """() => [...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")]
  .filter(it => it.checkVisibility()).map(it => it.outerHTML.replace(/\\s+/g, " ").slice(0, 120))"""
CUT_OFF = """() => [...document.querySelectorAll("body *")].filter(it => it.checkVisibility())
  .filter(it => it.scrollWidth > it.clientWidth + 1 && getComputedStyle(it).overflowX !== "visible")
  .map(it => it.outerHTML.slice(0, 120))"""


def sees(page, id, part):
    """Tell whether a part of a statement can be seen."""
    return page.locator(f'[id="{id}"] {part}').first.is_visible()


class TestAxe:
    """No rule of axe is broken, up to level AA, contrast and the size of what is clicked included."""

    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_page_has_no_barrier(self, open_file, any_language, scheme, state):
        """In light and in dark, in both languages, with all statements closed and with all open."""
        page = open_file(any_language, color_scheme=scheme)
        page.evaluate(OPEN, STATES[state])

        assert barriers(page) == []

    def test_page_of_one_run_has_no_barrier_in_a_narrow_window(self, open_file, one_run):
        """What is side by side elsewhere stands close together; nor has a choice that nothing fits."""
        page = open_file(one_run, viewport={"width": 360, "height": 640})
        page.evaluate(OPEN, [FIRST])
        assert barriers(page) == []

        page.get_by_label("Search").fill("no such words")
        assert barriers(page) == []


class TestKeyboard:
    """All can be done without a mouse."""

    def test_tab_leads_through_all_that_can_be_used_in_the_order_of_the_page(self, open_file, two_runs):
        """First to what skips the rest; each stop shows that it has the focus, and nothing covers it."""
        page = open_file(two_runs)
        page.evaluate(OPEN, [FIRST, LAST])
        usable = page.evaluate(TAKES_FOCUS)

        stops = tab_stops(page)

        assert [stop["html"] for stop in stops] == usable
        assert [stop["html"] for stop in stops if not stop["shown"]] == []
        assert [stop["html"] for stop in stops if stop["covered"]] == []
        assert 'href="#statements"' in usable[0]

    def test_first_stop_skips_to_the_statements(self, open_file, two_runs):
        """The next one is within them."""
        page = open_file(two_runs)

        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")

        assert page.evaluate("document.activeElement.id") == "search"

    @pytest.mark.parametrize("key", ["Enter", "Space"])
    def test_key_opens_and_closes_a_statement(self, open_file, one_run, key):
        """The one that has the focus."""
        page = open_file(one_run)
        page.locator(f'[id="{FIRST}"] > summary').focus()
        before = sees(page, FIRST, ".source")

        page.keyboard.press(key)
        opened = sees(page, FIRST, ".source")
        page.keyboard.press(key)

        assert (before, opened, sees(page, FIRST, ".source")) == (False, True, False)

    def test_filters_are_chosen_with_keys(self, open_file, one_run):
        """The arrow keys choose in a list, and the statements follow."""
        page = open_file(one_run)
        page.get_by_role("combobox", name="Section").focus()

        page.keyboard.press("ArrowDown")

        assert page.locator("details:visible").count() == 3

    @pytest.mark.parametrize("key", ["Enter", "Space"])
    def test_button_opens_and_closes_all(self, open_file, one_run, key):
        """It says whether it has been pressed."""
        page = open_file(one_run)
        button = page.get_by_role("button")
        button.focus()

        page.keyboard.press(key)
        opened = page.locator("details[open]").count(), button.get_attribute("aria-pressed")
        page.keyboard.press(key)

        assert opened == (len(STATEMENTS), "true")
        assert (page.locator("details[open]").count(), button.get_attribute("aria-pressed")) == (0, "false")


@pytest.mark.parametrize("width", [1280, 360, 320])
def test_page_is_never_scrolled_sideways(open_file, any_language, width):
    """Long names are broken; code and tables scroll by themselves, whether statements are open or not."""
    page = open_file(any_language, viewport={"width": width, "height": 640})
    closed = too_wide(page)

    page.evaluate(OPEN, STATES["open"])

    assert (closed, too_wide(page)) == ([], [])


def test_colours_follow_the_scheme(open_file, one_run):
    """The page is dark where the reader wants it dark, and else light."""
    brightness = {
        scheme: open_file(one_run, color_scheme=scheme).evaluate(BRIGHTNESS) for scheme in ("light", "dark")
    }

    assert brightness["light"] > 0.9
    assert brightness["dark"] < 0.2


class TestOnPaper:
    """What is printed."""

    @pytest.fixture
    def paper(self, open_file, two_runs):
        """The page as a printer gets it, with one statement open, in a width of A4."""
        page = open_file(two_runs, viewport={"width": 700, "height": 1000}, color_scheme="dark")
        page.evaluate(OPEN, [FIRST])
        page.emulate_media(media="print", color_scheme="dark")
        return page

    def test_paper_is_white_and_without_what_cannot_be_used_on_it(self, paper):
        """Also for a reader whose screen is dark: filters, and the link that skips them, are left out."""
        assert paper.evaluate(BRIGHTNESS) > 0.9
        assert not paper.get_by_label("Search").is_visible()
        assert not paper.locator("button:visible, select:visible, .skip:visible").count()

    def test_every_sentence_is_printed_and_what_is_open_is_printed_whole(self, paper):
        """Nothing is cut off: paper does not scroll."""
        assert all(sees(paper, name, ".truth") for name in STATEMENTS)
        assert sees(paper, FIRST, ".source")
        assert not sees(paper, LAST, ".source")
        assert too_wide(paper) == []
        assert paper.evaluate(CUT_OFF) == []


def test_without_scripts_every_statement_can_be_read(open_file, two_runs):
    """And opened, by a click or a key; filters and search, which need scripts, are not offered."""
    page = open_file(two_runs, java_script_enabled=False)

    page.locator(f'[id="{FIRST}"] > summary').click()
    page.locator(f'[id="{LAST}"] > summary').press("Enter")

    assert all(sees(page, name, ".truth") for name in STATEMENTS)
    assert sees(page, FIRST, ".source")
    assert sees(page, LAST, ".source")
    assert not page.locator("input:visible, select:visible, button:visible").count()
