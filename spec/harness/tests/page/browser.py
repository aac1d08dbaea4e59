"""The browser in which the page is opened: what it needs, that a run may require it, and what it hears.

It is a plugin, as CIFAR-10 is: what `--require` takes has to be known before anything is collected.
"""

import shutil
from importlib.util import find_spec
from itertools import chain

import pytest

PACKAGES = ["playwright", "axe_playwright_python"]
PROGRAMS = ["chromium", "chromium-browser", "google-chrome"]
# Playwright itself adds --headless, --no-sandbox (root needs it), a new --user-data-dir, and many others
FLAGS = ["--disable-gpu", "--disable-quic", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"]


def pytest_requirements():
    """Name what `--require` takes for the tests in a browser."""
    return {"browser": require_browser}


def require_browser():
    """Stop at once where the tests in a browser cannot run."""
    if sentence := missing():
        raise pytest.UsageError(f"--require browser: {sentence}")
    return set()  # what is left out for want of a browser has no other reason


def missing():
    """Say what the tests in a browser lack on this machine; None if nothing."""
    if absent := [package for package in PACKAGES if find_spec(package) is None]:
        return f"{' and '.join(absent)} cannot be imported; run `pip install -e '.[dev]'`"
    if not program():
        return (
            f"none of {', '.join(PROGRAMS)} is on the PATH; install one, as with `apt-get install chromium`"
        )
    return None


def program():
    """Return the path of Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@pytest.fixture(scope="session")
def browser():
    """Chromium, started once; without it the test is left out."""
    if sentence := missing():
        pytest.skip(f"needs a browser: {sentence}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_file(browser):
    """Open a file in a window of its own, with options of Playwright; what it does wrong fails the test."""
    heard, contexts = [], []

    def open_it(path, fragment="", **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        context.set_default_timeout(5000)  # of a machine that is busy with much else
        page = context.new_page()
        heard.append(wrongs(page))
        page.goto(path.as_uri() + fragment)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert list(chain.from_iterable(heard)) == []


def wrongs(page):
    """Return a list of what `page` does wrong from now on: it logs, throws, asks, or requests no file."""
    found = []

    def refuse(dialog):
        found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: found.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"exception: {error}"))
    page.on("dialog", refuse)
    page.on("request", lambda it: it.url.startswith("file://") or found.append(f"request: {it.url}"))
    return found
