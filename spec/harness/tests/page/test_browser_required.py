"""Without a browser its tests are left out, with the reason; a run that requires one does not begin."""

import pytest

from spec.harness.tests.page import browser

PLUGIN = f"-p{browser.__name__}"
IN_A_BROWSER = """
def test_in_a_browser(browser):
    assert browser.version
"""
ABSENT = {
    "program": "none of chromium, * is on the PATH; install one, as with `apt-get install chromium`",
    "find_spec": "playwright and axe_playwright_python cannot be imported; run `pip install -e '.[[]dev]'`",
}


@pytest.mark.parametrize(("function", "sentence"), ABSENT.items())
def test_without_a_browser_its_tests_are_left_out_unless_it_is_required(
    run_spec, monkeypatch, function, sentence
):
    """Where the program or the packages are absent; the sentence says what is missing and how to get it."""
    for each in ABSENT:
        found = None if each == function else "/somewhere"
        monkeypatch.setattr(browser, each, lambda *name, found=found: found)

    result = run_spec(IN_A_BROWSER, PLUGIN, "-rs", file="spec/test_page.py")
    required = run_spec(IN_A_BROWSER, PLUGIN, "--require=browser", file="spec/test_page.py")

    assert (result.ret, result.parseoutcomes()) == (0, {"skipped": 1})
    result.stdout.fnmatch_lines([f"SKIPPED * needs a browser: {sentence}"])
    assert required.ret == pytest.ExitCode.USAGE_ERROR
    required.stderr.fnmatch_lines([f"*--require browser: {sentence}"])
    required.stdout.no_fnmatch_line("*collected*")


def test_any_chromium_on_the_path_will_do(monkeypatch, tmp_path):
    """Each distribution has a name of its own for it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.program() is None

    for name in reversed(browser.PROGRAMS):
        (tmp_path / name).touch(mode=0o755)
        assert browser.program() == str(tmp_path / name)
