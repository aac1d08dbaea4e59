"""The table of claims and releases, from verdict files; and the runs behind it."""

import json
from pathlib import Path

import pytest

from spec.harness.command_line import main

CONFIRMED = (None, "confirmed")

DATED = """
@claim("nn.new", notes="3", since="9.9")
def test_new():
    "Since 9.9 one is two."
    assert 1 == 2

@claim("nn.old", notes="3", since="1.0")
def test_old():
    "Since 1.0 one is one."
    assert 1 == 1

@claim("nn.always", notes="3")
def test_always():
    "One is one."
    assert 1 == 1
"""


def outcomes(path):
    """Return the outcome of each claim in a verdict file."""
    records = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    return {record["id"]: record["outcome"] for record in records}


def test_claim_of_a_newer_pytorch_is_refuted_in_a_run_of_the_history(run_spec, pytester):
    """Without --history a claim of a newer PyTorch is not checked, with it the claim has its say."""
    run_spec(DATED, "--verdicts=plain.jsonl")
    run_spec(DATED, "--verdicts=history.jsonl", "--history")

    plain, history = (outcomes(pytester.path / name) for name in ("plain.jsonl", "history.jsonl"))
    assert plain == {"nn.new": "not checked", "nn.old": "confirmed", "nn.always": "confirmed"}
    assert history == {"nn.new": "refuted", "nn.old": "confirmed", "nn.always": "confirmed"}


def test_dated_claims_can_be_run_alone(run_spec):
    """The marker dated selects the claims that name a release."""
    result = run_spec(DATED, "-m", "dated")

    assert result.parseoutcomes() == {"passed": 1, "skipped": 1, "deselected": 1}


@pytest.fixture
def files(tmp_path):
    """Two verdict files of the same claims: an older release, and a newer one that lacks a claim."""
    rows = {
        "2.9.1+cu128": {
            "nn.a": ("2.11", "refuted"),
            "nn.b": CONFIRMED,
            "nn.c": CONFIRMED,
        },
        "2.11.0": {"nn.a": ("2.11", "confirmed"), "nn.b": CONFIRMED},
    }
    return [write(tmp_path / f"{torch}.jsonl", torch, claims) for torch, claims in rows.items()]


def write(path: Path, torch, claims):
    """Write what `report` reads of a verdict file."""
    lines = [{"kind": "header", "schema": 1, "torch": torch}]
    lines += [
        {"id": name, "since": since, "outcome": outcome, "reason": None}
        for name, (since, outcome) in claims.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_matrix_shows_what_differs_with_the_oldest_release_first(files, capsys):
    """One row for each claim whose outcome differs; the order of the files plays no part."""
    status = main(["matrix", *map(str, reversed(files))])

    assert capsys.readouterr().out.splitlines() == [
        "| claim | true since | 2.9.1 | 2.11.0 |",
        "| --- | --- | --- | --- |",
        "| `nn.a` | 2.11 | refuted | confirmed |",
        "",
        "The other 2 claims have the same outcome on each release that ran them.",
    ]
    assert status == 0


WRONG = {
    "true before its release": (
        "2.9.0",
        "2.11",
        "confirmed",
        " (true since 2.11) on 2.9.0: refuted expected, confirmed found",
    ),
    "false since its release": (
        "2.11.0",
        "2.11",
        "refuted",
        " (true since 2.11) on 2.11.0: confirmed or not checked expected, refuted found",
    ),
    "an accident before": (
        "2.9.0",
        "2.11",
        "error",
        " (true since 2.11) on 2.9.0: refuted expected, error found",
    ),
    "false without a history": (
        "2.9.0",
        None,
        "refuted",
        " on 2.9.0: confirmed or not checked expected, refuted found",
    ),
    "a crash": ("2.9.0", None, "crashed", " on 2.9.0: confirmed or not checked expected, crashed found"),
}


@pytest.mark.parametrize(("torch", "since", "outcome", "sentence"), WRONG.values(), ids=WRONG)
def test_matrix_fails_where_an_outcome_is_not_as_the_claim_says(
    tmp_path, capsys, torch, since, outcome, sentence
):
    """A claim is true since the release that it names, and on none before it; else the exit status is 1."""
    path = write(tmp_path / "v.jsonl", torch, {"nn.a": (since, outcome)})

    status = main(["matrix", str(path)])

    assert f"- `nn.a`{sentence}" in capsys.readouterr().out
    assert status == 1


def test_matrix_reads_2_13_as_newer_than_2_9(tmp_path, capsys):
    """Releases are compared as numbers, not as text."""
    path = write(tmp_path / "v.jsonl", "2.13.0", {"nn.a": ("2.9", "confirmed")})

    assert main(["matrix", str(path)]) == 0
