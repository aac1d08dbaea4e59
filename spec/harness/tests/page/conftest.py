"""A page of runs, made once for all tests that look at it."""

import pytest

from spec.command_line import main
from spec.harness.tests.page import runs

PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="http://purl.org/dc/elements/1.1/" width="2000"
  height="500"><metadata><dc:title>A loss that falls</dc:title></metadata><path d="M0 0 2000 500"/></svg>"""


@pytest.fixture(scope="session")
def make_page(tmp_path_factory):
    """Write the page of some runs, given by their lines, in a language; return its file."""

    def make(*lines, language="en", pictures=()):
        folder = tmp_path_factory.mktemp("page")
        records = [runs.written(folder / f"{number}.jsonl", its) for number, its in enumerate(lines)]
        page = folder / "page.html"
        shown = [f"--pictures={picture}" for picture in pictures]
        assert main(["report", *map(str, records), "-o", str(page), "--language", language, *shown]) == 0
        return page

    return make


@pytest.fixture(scope="session")
def one_run(make_page):
    """The page of a single run."""
    return make_page(runs.newer())


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """A picture that is wider than most windows."""
    path = tmp_path_factory.mktemp("pictures") / "loss.svg"
    path.write_text(PICTURE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def two_runs(make_page, picture):
    """The page of two runs, of which the newer one is named first, and of a picture."""
    return make_page(runs.newer(), runs.older(), pictures=[picture])


@pytest.fixture(scope="session", params=["en", "zh"])
def any_language(request, make_page, picture):
    """The page of two runs and a picture, in each language."""
    return make_page(runs.newer(), runs.older(), language=request.param, pictures=[picture])
