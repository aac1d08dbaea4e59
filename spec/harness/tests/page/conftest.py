"""A page of runs, made once for all tests that look at it."""

import pytest

from spec.command_line import main
from spec.harness.tests.page import runs


@pytest.fixture(scope="session")
def make_page(tmp_path_factory):
    """Write the page of some runs, given by their lines, in a language; return its file."""

    def make(*lines, language="en"):
        folder = tmp_path_factory.mktemp("page")
        records = [runs.written(folder / f"{number}.jsonl", its) for number, its in enumerate(lines)]
        page = folder / "page.html"
        assert main(["report", *map(str, records), "-o", str(page), "--language", language]) == 0
        return page

    return make


@pytest.fixture(scope="session")
def one_run(make_page):
    """The page of a single run."""
    return make_page(runs.newer())


@pytest.fixture(scope="session")
def two_runs(make_page):
    """The page of two runs, of which the newer one is named first."""
    return make_page(runs.newer(), runs.older())


@pytest.fixture(scope="session", params=["en", "zh"])
def any_language(request, make_page):
    """The page of two runs in each language."""
    return make_page(runs.newer(), runs.older(), language=request.param)
