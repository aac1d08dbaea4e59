"""What the tests of the page look with sees what is wrong with a page that is made so."""

import pytest

from spec.harness.tests.page import looks
from spec.harness.tests.page.browser import wrongs

pytestmark = pytest.mark.slow  # starts Chromium

HTML = """<!doctype html>
<html lang="en"><title>Page</title><style>{style}</style><main><h1>Title</h1>{body}</main>
"""


@pytest.fixture
def show(open_file, tmp_path):
    """Open a page of one title and more."""

    def show(body="", style="", **options):
        path = tmp_path / "page.html"
        path.write_text(HTML.format(body=body, style=style), encoding="utf-8")
        return open_file(path, **options)

    return show


WRONGS = {
    "console: hm": "<script>console.log('hm')</script>",
    "exception: hm": "<script>throw Error('hm')</script>",
    "dialog: hm": "<script>alert('hm')</script>",
    "request: https://example.org/a.png": '<img alt="" src="https://example.org/a.png">',
    "request: https://example.org/a.css": '<link rel="stylesheet" href="https://example.org/a.css">',
    "request: https://example.org/a": "<script>fetch('https://example.org/a').catch(() => {})</script>",
}


@pytest.mark.parametrize(("wrong", "body"), WRONGS.items(), ids=WRONGS)
def test_what_a_page_does_wrong_is_heard(browser, tmp_path, wrong, body):
    """What it says on the console, what it throws, what it asks, and each request for anything but a file."""
    path = tmp_path / "page.html"
    path.write_text(HTML.format(body=body, style=""), encoding="utf-8")
    page = browser.new_page(offline=True)

    heard = wrongs(page)
    page.goto(path.as_uri())
    page.close()

    assert wrong in heard


BARRIERS = {
    "a button without a name": ("<button></button>", "", "button-name: button"),
    "grey on grey": ("<p>Words to read</p>", "p { color: #888; background: #999 }", "color-contrast: p"),
    "words on a picture": ("<p>It</p>", "p { background: linear-gradient(red, blue) }", "color-contrast: p"),
    "buttons that are too close": (
        '<button id="one">one</button><button id="two">two</button>',
        "button { font-size: 8px; border: 0; padding: 0 }",
        "target-size: #one",
    ),
    "a heading left out": ("<h3>Deep</h3>", "", "heading-order: h3"),
}


@pytest.mark.parametrize(("body", "style", "barrier"), BARRIERS.values(), ids=BARRIERS)
def test_barrier_is_found(show, body, style, barrier):
    """Both what axe is sure of and what it cannot decide count; without it there is none."""
    assert any(found.startswith(barrier) for found in looks.barriers(show(body, style)))
    assert looks.barriers(show("<p>Words to read</p>")) == []


def test_what_is_too_wide_is_found_unless_it_scrolls_by_itself(show):
    """A code block of its own may be wide; the page may not."""
    block = "<pre>" + "wide " * 100 + "</pre>"
    narrow = {"viewport": {"width": 360, "height": 640}}

    beyond = looks.too_wide(show(block, **narrow))
    cut = looks.too_wide(show(block, "main { overflow: hidden }", **narrow))
    within = looks.too_wide(show(block, "pre { overflow-x: auto }", **narrow))

    assert [html[:4] for html in beyond] == ["<htm"]
    assert (cut, within) == ([], [])


LINKS = '<a href="#a" id="a">a</a> <a href="#b" id="b">b</a> <details id="d"><summary>c</summary>d</details>'


def test_tab_stops_are_found_in_their_order(show):
    """Each with whether the focus shows."""
    stops = looks.tab_stops(show(LINKS, "#b:focus { outline: none }"))

    assert [(stop["tag"], stop["id"], stop["shown"], stop["covered"]) for stop in stops] == [
        ("a", "a", True, False),
        ("a", "b", False, False),
        ("summary", "", True, False),
    ]


def test_stop_under_something_else_is_found(show):
    """Something that stands fast may cover what has the focus."""
    stops = looks.tab_stops(show(LINKS, "main::after { content: ''; position: fixed; inset: 0 }"))

    assert [stop["covered"] for stop in stops] == [True, True, True]
