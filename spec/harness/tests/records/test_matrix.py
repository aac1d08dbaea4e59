"""The table of statements and environments, from files of records; and the runs behind it."""

import pytest

from spec import command_line
from spec.harness.errors import HarnessError
from spec.harness.records import matrix

DATED = """
@statement("nn.new", notes="3")
@since("9.9")
def test_new():
    "Since 9.9 one is two."
    assert 1 == 2

@statement("nn.old", notes="3")
@since("1.0")
def test_old():
    "Since 1.0 one is one."
    assert 1 == 1
"""


def test_statement_of_a_newer_pytorch_is_refuted_in_a_run_of_the_history(recorded):
    """Without --history a statement of a newer PyTorch is not checked, with it the statement has its say."""
    plain, history = recorded(DATED), recorded(DATED, "--history")

    assert [record["outcome"] for record in plain.results] == ["not checked", "confirmed"]
    assert [record["outcome"] for record in history.results] == ["refuted", "confirmed"]


NEW = {"id": "nn.a", "since": "2.11"}
REFUTED = {"outcome": "refuted"}
TOO_OLD = {"outcome": "not checked", "reason": "torch-too-old", "checks": 0}
ELSEWHERE = {"outcome": "not checked", "reason": "no-accelerator", "checks": 0}


def table(*paths, whole=False):
    """Return the lines of the table of files, and whether all is as it should be."""
    known = command_line.NOTES.ids()
    return matrix.report(matrix.columns(paths, known), known, whole=whole)


def test_the_table_shows_what_differs_with_the_oldest_release_first(write_records):
    """One row for each statement whose outcome differs, in the order of the notes; the whole has them all."""
    dated = NEW | {"id": "nn.b"}
    old = write_records("old", [{"id": "nn.c"}, dated | REFUTED, ELSEWHERE], torch="2.9.1+cu128")
    new = write_records("new", [{"id": "nn.c"}, dated, {}], torch="2.11.0")
    head = ["| statement | true since | 2.9.1 | 2.11.0 |", "| --- | --- | --- | --- |"]
    differing = [
        "| `nn.a` |  | not checked (no-accelerator) | confirmed |",
        "| `nn.b` | 2.11 | refuted | confirmed |",
    ]
    alike = ["", "The other 1 statements have the same outcome wherever they were run."]

    assert table(new, old) == ([*head, *differing, *alike], True)
    whole = [*head, *differing, "| `nn.c` |  | confirmed | confirmed |"]
    assert table(new, old, whole=True) == (whole, True)


def test_files_of_one_environment_are_merged_by_the_worst(write_records):
    """A statement that one of two runs refuted is refuted, whichever run was the last."""
    good = write_records("good", [{}, ELSEWHERE | {"id": "nn.b"}], started="2026-11-25T00:00:00+00:00")
    bad = write_records("bad", [REFUTED, {"id": "nn.b"}, {"id": "nn.c"}], end={"exit_status": 1})

    for files in ((good, bad), (bad, good)):
        lines, as_said = table(*files)

        assert not as_said
        assert lines[0] == "| statement | true since | 2.15.0 |"
        assert lines[-1] == "- `nn.a` on 2.15.0: confirmed or not checked expected, refuted found by test"
        assert len([line for line in lines if line.startswith("- ")]) == 1


def on_gpu(driver):
    """Return what the header of a run on a GPU says of it."""
    return {"accelerator": "cuda", "devices": [{"name": "H100", "memory_mib": 81559, "driver": driver}]}


ENVIRONMENTS = {
    "nothing but the time": ([{}, {"started": "2026-11-25T00:00:00+00:00"}], ["2.15.0"]),
    "the release": ([{"torch": "2.9.0"}, {}], ["2.9.0", "2.15.0"]),
    "the build": ([{}, {"torch": "2.15.0+cu130", "cuda": "13.0"}], ["2.15.0+cpu", "2.15.0+cu130"]),
    "the package that one lacks": (
        [{}, {"torchvision": None}],
        ["2.15.0, torchvision 0.29.2", "2.15.0, torchvision none"],
    ),
    "the accelerator, and more": (
        [{}, on_gpu("570") | {"cuda": "13.0"}],
        ["2.15.0, accelerator none", "2.15.0, accelerator cuda"],
    ),
    "the driver": (
        [on_gpu("570"), on_gpu("580")],
        ["2.15.0, devices 0 driver 570", "2.15.0, devices 0 driver 580"],
    ),
    "each as far as it has to be": (
        [{"torch": "2.9.0", "python": "3.12.1"}, {"python": "3.12.1"}, {}],
        ["2.9.0", "2.15.0, python 3.11.7", "2.15.0, python 3.12.1"],
    ),
}


@pytest.mark.parametrize(("headers", "headings"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_a_column_is_an_environment(write_records, headers, headings):
    """What the header says, but for the time, makes a column, which is named by what differs and no more."""
    lines, as_said = table(*(write_records(str(i), **header) for i, header in enumerate(headers)))

    assert as_said
    assert sorted(lines[0].removesuffix(" |").split(" | ")[2:]) == sorted(headings)


BEFORE = "(true since 2.11) on {}: refuted or not checked expected, {} found by test"
SINCE = "(true since 2.11) on 2.11.0: confirmed or not checked expected, {} found by test"
ALWAYS = "on 2.9.0: confirmed or not checked expected, {} found by test"
OUTCOMES = {
    "refuted before": ("2.9.0", NEW | REFUTED, None),
    "not checked before": ("2.9.0", NEW | TOO_OLD, None),
    "refuted on a pre-release": ("2.11.0a0+git335f664", NEW | REFUTED, None),
    "confirmed on the release": ("2.11.0+cu128", NEW, None),
    "confirmed after, by number": ("2.13.0", {"since": "2.9"}, None),
    "not checked after": ("2.13.0", NEW | ELSEWHERE, None),
    "true before its release": ("2.11.0rc1", NEW, BEFORE.format("2.11.0rc1", "confirmed")),
    "an accident before": ("2.9.0", NEW | {"outcome": "error"}, BEFORE.format("2.9.0", "error")),
    "false since its release": ("2.11.0", NEW | REFUTED, SINCE.format("refuted")),
    "too old since its release": ("2.11.0", NEW | TOO_OLD, SINCE.format("not checked (torch-too-old)")),
    "false without a history": ("2.9.0", REFUTED, ALWAYS.format("refuted")),
    "a crash": ("2.9.0", {"outcome": "crashed"}, ALWAYS.format("crashed")),
}


@pytest.mark.parametrize(("torch", "result", "amiss"), OUTCOMES.values(), ids=OUTCOMES)
def test_an_outcome_has_to_be_as_the_statement_says(write_records, torch, result, amiss):
    """A statement is true since the release that it names, and not before."""
    lines, as_said = table(write_records(results=[result, {"id": "nn.b"}], torch=torch))

    assert as_said is (amiss is None)
    assert [line for line in lines if line.startswith("- ")] == ([f"- `nn.a` {amiss}"] if amiss else [])


def test_where_nothing_was_checked_there_is_nothing_to_compare(write_records):
    """Files in which each statement is not checked are no agreement."""
    path = write_records(results=[ELSEWHERE])

    with pytest.raises(HarnessError, match=r"^no statement was checked in these files"):
        table(path)
