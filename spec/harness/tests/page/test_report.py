"""The page: what it says of runs, in words that anyone can check against the records."""

import re

import pytest

from spec import command_line
from spec.command_line import main
from spec.harness.language import Language
from spec.harness.page import report
from spec.harness.page.entries import WHY, result
from spec.harness.records.vocabulary import OUTCOMES, REASONS
from spec.harness.statements.notes import Picture

ENGLISH = Language("en")
REFUTED = {"outcome": "refuted", "seen": "assert 1 == 2"}
UNCHECKED = {"outcome": "not checked", "reason": "slow", "checks": 0}


@pytest.fixture
def page(tmp_path):
    """Write the page of some records, and return its text with spaces for line ends."""

    def make(*files, notes=None, language=ENGLISH, pictures=()):
        path = tmp_path / "page.html"
        report.write(files, path, notes or command_line.NOTES, language, pictures)
        return " ".join(path.read_text(encoding="utf-8").split())

    return make


def entry(page, id):
    """Return the part of the page that is about one statement."""
    return page.partition(f'<details class="statement" id="{id}"')[2].partition("</details>")[0]


def test_page_begins_with_the_result_and_the_environment(page, write_records, tmp_path):
    """One sentence says how many statements were confirmed, and why the others were not checked.

    A page that exists is replaced at once, and nothing else is left in the folder.
    """
    page(write_records())
    text = page(write_records(results=[{}, {"id": "nn.b", **REFUTED}, {"id": "nn.c", **UNCHECKED}]))

    assert "1 of 3 statements confirmed; 1 refuted; 1 not checked (longer than a few seconds: 1)." in text
    assert "PyTorch 2.15.0+cpu · Python 3.11.7 · AMD EPYC · data: stand-in · " in text
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"v.jsonl", "page.html"}


def test_statement_shows_its_truth_faults_source_and_how_to_run_it(page, write_records):
    """What a record does not hold comes from the text of the specification."""
    row = {"measured": {"accuracy": 0.53}, "seconds": 1.25, "tolerance_used": 0.5}

    shown = entry(page(write_records(results=[{"sentence": "`x` is < 1.", **row}])), "nn.a")

    assert "<code>x</code> is &lt; 1." in shown
    assert "<li>one is two</li>" in shown
    assert "pytest spec/section_3/test_a.py::test<" in shown
    assert '<i class="d">@statement</i>' in shown
    for measured in ("<code>accuracy = 0.53</code>", "1.25 s", "50 % of the tolerance used"):
        assert measured in shown


def test_refuted_row_shows_what_was_seen_and_rows_that_saw_the_same_stand_together(page, write_records):
    """A person reads the same failure once, with the rows that it happened in."""
    rows = [
        {"node": "spec/section_3/test_a.py::test[one]", **REFUTED},
        {"node": "spec/section_3/test_a.py::test[two]", **REFUTED},
        {"node": "spec/section_3/test_a.py::test[three]"},
    ]

    shown = entry(page(write_records(results=rows)), "nn.a")

    assert "<b>one, cpu, two, cpu</b> assert 1 == 2</pre>" in shown
    assert shown.count("assert 1 == 2") == 1
    assert "three, cpu" not in shown


def test_what_differs_between_runs_stands_on_top(page, write_records):
    """Each file is a column, the oldest release first; a statement that one lacks is absent there."""
    new = write_records("new.jsonl", [{}, {"id": "nn.b"}, {"id": "nn.c"}])
    old = write_records("old.jsonl", [{**REFUTED}, {"id": "nn.b"}], torch="2.6.0")

    text = page(new, old)

    table = text.partition('id="differences"')[2].partition("</section>")[0]
    assert re.findall(r'<th scope="col">([^<]+)', table) == ["Statement", "2.6.0", "2.15.0"]
    assert re.findall(r'href="#([^"]+)"', table) == ["nn.a", "nn.c"]
    assert "absent" in table.partition("#nn.c")[2]
    assert "2 of 3" not in table


def test_runs_that_agree_say_so(page, write_records):
    """A statement that this specification lacks is shown without source: records may be of another commit."""
    gone = [{"id": "nn.gone"}]
    later = "2026-11-25T15:12:38"

    text = page(write_records("1", gone), write_records("2", gone, started=f"{later}+00:00"))

    assert "Every statement has the same outcome in all runs." in text
    assert f"<h2>2.15.0, started {later}</h2>" in text
    shown = entry(text, "nn.gone")
    assert "One is one." in shown
    assert "This specification has no such statement: the records are of another commit." in shown


def test_text_of_others_runs_nothing_and_moves_nothing(page, write_records):
    """What a record holds is shown as text: no element, no control character, no change of direction."""
    seen = "</pre><script>alert(1)</script>\u202e\x1b[2J\ud800"

    text = page(write_records(results=[{"outcome": "error", "seen": seen, "sentence": '"><b>'}], cpu="<i>"))

    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\x1b[2J\\ud800" in text
    assert "&#34;&gt;&lt;b&gt;" in text
    assert "· &lt;i&gt; ·" in text


def test_page_of_an_unfinished_run_says_so_and_ends_with_3(write_records, tmp_path, monkeypatch, capsys):
    """The page shows what a killed run has left, under the sentence that it did not finish."""
    monkeypatch.chdir(tmp_path)
    path = write_records(end={"ended": 0, "collected": 2})

    assert main(["report", str(path)]) == 3
    assert capsys.readouterr().out == f"The page is {tmp_path / 'report.html'}.\n"
    assert "this run did not finish: 0 of 2 checks" in (tmp_path / "report.html").read_text()


BAD = {
    "no file": ("none.jsonl", "cannot read it: No such file or directory"),
    "a folder": ("spec", "cannot read it: Is a directory"),
    "a page that cannot be written": ("v.jsonl", "cannot write the page there: No such file or directory"),
}


@pytest.mark.parametrize(("name", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_one_sentence(name, said, write_records, tmp_path, capsys):
    """A file that cannot be read, or a page that cannot be written, ends the command with 2."""
    write_records()
    out = tmp_path / ("none/page.html" if name == "v.jsonl" else "page.html")

    assert main(["report", str(tmp_path / name), "-o", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_pictures_that_the_specification_draws_stand_with_their_statement(page, write_records, tmp_path):
    """It is handed what was measured, and returns pictures by statement; those of files stand at the end."""
    asked = []

    def draw(measured):
        asked.append(measured)
        return {"nn.a": [Picture(b"<svg/>", "One")]}

    notes = command_line.NOTES._replace(pictures=draw)

    cat = tmp_path / "cat.svg"
    cat.write_text("<svg/>")

    text = page(write_records(results=[{"measured": {"x": 1}}]), notes=notes, pictures=[cat])

    assert '<img src="data:image/svg+xml;base64,PHN2Zy8+" alt="One"' in entry(text, "nn.a")
    assert 'alt="cat"' in text
    assert asked == [{"nn.a": {"x": 1}}]


def test_every_reason_and_outcome_has_words():
    """The sentence at the top knows each reason, and every outcome is one of three kinds, with a mark."""
    assert list(WHY) == list(REASONS)
    assert set(report.STYLES) == set(OUTCOMES)
    assert set(report.STYLES.values()) == set(report.MARKS)


def test_result_counts_each_statement_once():
    """Statements that broke are counted apart from those that were refuted."""
    outcomes = ["confirmed", "error", "timeout", "refuted"]

    told = result([{"outcome": outcome, "reason": None} for outcome in outcomes], ENGLISH)

    assert told == "1 of 4 statements confirmed; 1 refuted; 2 broke before they could tell."


def test_chinese_page_speaks_of_chinese_titles_and_truths(page, write_records):
    """What the table of a language has is shown in it, under that language's name."""
    its = {"english": "b1444000", "truth": "一是一。"}
    chinese = Language("zh", {"Statements": "命题"}, {"3 Neural networks": "3 神经网络"}, {"nn.a": its})

    text = page(write_records(), language=chinese)

    assert '<html lang="zh-CN">' in text
    assert "<h2>3 神经网络</h2>" in text
    assert "一是一。" in entry(text, "nn.a")
    assert "<h2>命题</h2>" in text
