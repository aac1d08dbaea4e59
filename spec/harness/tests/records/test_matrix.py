"""The table of statements and releases, from files of records; and the runs behind it."""

import pytest

from spec.command_line import main
from spec.harness.records.reading import read

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

@statement("nn.always", notes="3")
def test_always():
    "One is one."
    assert 1 == 1
"""


def outcomes(path):
    """Return the outcome of each statement in a file of records."""
    return {record["id"]: record["outcome"] for record in read(path).results}


def test_statement_of_a_newer_pytorch_is_refuted_in_a_run_of_the_history(run_spec, pytester):
    """Without --history a statement of a newer PyTorch is not checked, with it the statement has its say."""
    run_spec(DATED, "--records=plain.jsonl")
    run_spec(DATED, "--records=history.jsonl", "--history")

    plain, history = (outcomes(pytester.path / name) for name in ("plain.jsonl", "history.jsonl"))
    assert plain == {"nn.new": "not checked", "nn.old": "confirmed", "nn.always": "confirmed"}
    assert history == {"nn.new": "refuted", "nn.old": "confirmed", "nn.always": "confirmed"}


def test_dated_statements_can_be_run_alone(run_spec):
    """The marker since selects the statements that name a release."""
    result = run_spec(DATED, "-m", "since")

    assert result.parseoutcomes() == {"passed": 1, "skipped": 1, "deselected": 1}


NEW = {"id": "nn.a", "since": "2.11"}
REFUTED = {"outcome": "refuted"}
TOO_OLD = {"outcome": "not checked", "reason": "torch-too-old", "checks": 0}
ELSEWHERE = {"outcome": "not checked", "reason": "no-accelerator", "checks": 0}


@pytest.fixture
def matrix(capsys):
    """Return status and lines of `blitz matrix` on files, which are the same in any order of them."""

    def run(*paths):
        forwards = main(["matrix", *map(str, paths)]), capsys.readouterr().out.splitlines()
        backwards = main(["matrix", *map(str, reversed(paths))]), capsys.readouterr().out.splitlines()
        assert forwards == backwards
        return forwards

    return run


def test_matrix_shows_what_differs_with_the_oldest_release_first(write_records, matrix):
    """One row for each statement whose outcome differs, in the order of the specification."""
    dated = NEW | {"id": "nn.b"}
    old = write_records(
        "old", [{"id": "nn.d"}, {"id": "nn.c"}, dated | REFUTED, ELSEWHERE], torch="2.9.1+cu128"
    )
    new = write_records("new", [{"id": "nn.c"}, dated, {}], torch="2.11.0")

    assert matrix(new, old) == (
        0,
        [
            "| statement | true since | 2.9.1 | 2.11.0 |",
            "| --- | --- | --- | --- |",
            "| `nn.a` |  | not checked (no-accelerator) | confirmed |",
            "| `nn.b` | 2.11 | refuted | confirmed |",
            "",
            "The other 2 statements have the same outcome wherever they were run.",
        ],
    )


def test_files_of_one_environment_are_merged_by_the_worst(write_records, matrix):
    """A statement that one of two runs refuted is refuted, whichever run was the last."""
    good = write_records("good", [{}, ELSEWHERE | {"id": "nn.b"}], started="2026-11-25T00:00:00+00:00")
    bad = write_records("bad", [REFUTED, {"id": "nn.b"}, {"id": "nn.c"}], end={"exit_status": 1})

    status, lines = matrix(good, bad)

    assert status == 1
    assert lines[0] == "| statement | true since | 2.15.0 |"
    assert lines[-1] == "- `nn.a` on 2.15.0: confirmed or not checked expected, refuted found by test"
    assert len([line for line in lines if line.startswith("- ")]) == 1


def test_of_two_reasons_one_is_told_in_any_order_of_the_files(write_records, matrix):
    """Where two runs of one environment left a statement out for two reasons, the table has one of them."""
    files = [
        write_records("no gpu", [ELSEWHERE]),
        write_records("not slow", [ELSEWHERE | {"reason": "slow"}]),
        write_records("elsewhere", python="3.12.1"),
    ]

    assert "| `nn.a` |  | not checked (no-accelerator) | confirmed |" in matrix(*files)[1]


GPU = {"name": "H100", "memory_mib": 81559, "driver": "570.1"}
ENVIRONMENTS = {
    "nothing": ({}, ["2.15.0"]),
    "a key that tells nothing": ({"nccl": None}, ["2.15.0"]),
    "the time": ({"started": "2026-11-25T00:00:00+00:00"}, ["2.15.0"]),
    "the release": ({"torch": "2.9.0"}, ["2.9.0", "2.15.0"]),
    "the build": ({"torch": "2.15.0+cu130", "cuda": "13.0"}, ["2.15.0+cpu", "2.15.0+cu130"]),
    "Python": ({"python": "3.12.1"}, ["2.15.0, python 3.11.7", "2.15.0, python 3.12.1"]),
    "NumPy": ({"numpy": "1.26.0"}, ["2.15.0, numpy 1.26.0", "2.15.0, numpy 2.4.6"]),
    "torchvision": ({"torchvision": None}, ["2.15.0, torchvision 0.29.2", "2.15.0, torchvision none"]),
    "the system": ({"os": "macOS"}, ["2.15.0, os Linux", "2.15.0, os macOS"]),
    "the processor": ({"cpu": "Intel"}, ["2.15.0, cpu AMD EPYC", "2.15.0, cpu Intel"]),
    "a GPU": (
        {"accelerator": "cuda", "devices": [GPU], "cuda": "13.0"},
        ["2.15.0, accelerator cuda", "2.15.0, accelerator none"],
    ),
    "the data": ({"data": "official"}, ["2.15.0, data official", "2.15.0, data stand-in"]),
    "the commit": ({"commit": "335f664+"}, ["2.15.0, commit 335f664", "2.15.0, commit 335f664+"]),
    "precision": (
        {
            "precision": {
                "default_dtype": "torch.float64",
                "float32_matmul": "highest",
                "deterministic": False,
            }
        },
        [
            "2.15.0, precision default_dtype torch.float32",
            "2.15.0, precision default_dtype torch.float64",
        ],
    ),
    "a bar and a line": ({"cpu": "A|B\nC"}, [r"2.15.0, cpu AMD EPYC", r"2.15.0, cpu A\|B C"]),
}


@pytest.mark.parametrize(("other", "headings"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_a_column_is_an_environment(write_records, matrix, other, headings):
    """What the header says, but for the time, makes a column, which is named by what differs and no more."""
    status, lines = matrix(write_records("one"), write_records("other", **other))

    assert status == 0
    assert sorted(lines[0].removesuffix(" |").split(" | ")[2:]) == sorted(headings)


def test_the_driver_tells_two_machines_apart(write_records, matrix):
    """Two GPUs of one name under two drivers are two columns."""
    files = [
        write_records(driver, accelerator="cuda", devices=[GPU | {"driver": driver}])
        for driver in ("570.1", "580.2")
    ]

    assert matrix(*files)[1][0] == (
        "| statement | true since | 2.15.0, devices 0 driver 570.1 | 2.15.0, devices 0 driver 580.2 |"
    )


def test_of_three_environments_each_is_named_as_far_as_it_has_to_be(write_records, matrix):
    """What tells two of them apart is not said of the third."""
    files = [
        write_records("a", torch="2.9.0", python="3.12.1"),
        write_records("b", python="3.12.1"),
        write_records("c"),
    ]

    assert matrix(*files)[1][0] == (
        "| statement | true since | 2.9.0 | 2.15.0, python 3.11.7 | 2.15.0, python 3.12.1 |"
    )


AS_THE_CLAIMS_SAY = {
    "refuted before": ("2.9.0", NEW | REFUTED),
    "not checked before": ("2.9.0", NEW | TOO_OLD),
    "not checked for another reason": ("2.9.0", NEW | ELSEWHERE),
    "refuted on a pre-release": ("2.11.0a0+git335f664", NEW | REFUTED),
    "not checked on a pre-release": ("2.11.0.dev20251101+cu128", NEW | TOO_OLD),
    "confirmed on the release": ("2.11.0+cu128", NEW),
    "confirmed after": ("2.13.0", {"since": "2.9"}),  # compared as numbers, not as text
    "not checked after": ("2.13.0", NEW | ELSEWHERE),
}


@pytest.mark.parametrize(("torch", "result"), AS_THE_CLAIMS_SAY.values(), ids=AS_THE_CLAIMS_SAY)
def test_matrix_agrees_with_what_the_statements_say(write_records, matrix, torch, result):
    """Before its release a statement is refuted or not checked, from then on confirmed or not checked."""
    path = write_records(results=[result, {"id": "nn.b"}], torch=torch)

    assert matrix(path)[0] == 0


BEFORE = "(true since 2.11) on {}: refuted or not checked expected, {} found by test"
SINCE = "(true since 2.11) on {}: confirmed or not checked expected, {} found by test"
WRONG = {
    "true before its release": ("2.9.0", NEW, BEFORE.format("2.9.0", "confirmed")),
    "true before, on a pre-release": ("2.11.0rc1", NEW, BEFORE.format("2.11.0rc1", "confirmed")),
    "an accident before": ("2.9.0", NEW | {"outcome": "error"}, BEFORE.format("2.9.0", "error")),
    "false since its release": ("2.11.0", NEW | REFUTED, SINCE.format("2.11.0", "refuted")),
    "too old since its release": (
        "2.11.0",
        NEW | TOO_OLD,
        SINCE.format("2.11.0", "not checked (torch-too-old)"),
    ),
    "false without a history": (
        "2.9.0",
        REFUTED,
        "on 2.9.0: confirmed or not checked expected, refuted found by test",
    ),
    "a crash": (
        "2.9.0",
        {"outcome": "crashed"},
        "on 2.9.0: confirmed or not checked expected, crashed found by test",
    ),
}


@pytest.mark.parametrize(("torch", "result", "sentence"), WRONG.values(), ids=WRONG)
def test_matrix_fails_where_an_outcome_is_not_as_the_statement_says(
    write_records, matrix, torch, result, sentence
):
    """A statement is true since the release that it names, and not before; else the exit status is 1."""
    status, lines = matrix(write_records(results=[result, {"id": "nn.b"}], torch=torch))

    assert f"- `nn.a` {sentence}" in lines
    assert status == 1


def test_where_nothing_was_checked_there_is_nothing_to_compare(write_records, capsys):
    """Files in which each statement is not checked are no agreement: the status is 2."""
    assert main(["matrix", str(write_records(results=[ELSEWHERE]))]) == 2

    assert capsys.readouterr().err == (
        "blitz: no statement was checked in these files, so there is nothing to compare\n"
    )


def test_a_run_on_a_pre_release_says_what_it_counts_as(run_spec, monkeypatch):
    """A pre-release of the release that a statement names may lack what the release has."""
    monkeypatch.setattr("torch.__version__", "9.9.0a0+git335f664")

    result = run_spec(DATED, "-rs")

    assert result.parseoutcomes() == {"passed": 2, "skipped": 1}
    assert (
        "torch-too-old: true since PyTorch 9.9, this is 9.9.0a0+git335f664, which counts as before 9.9"
    ) in " ".join(result.stdout.str().split())
