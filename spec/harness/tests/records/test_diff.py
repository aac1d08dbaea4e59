"""What changed between two runs: nothing that is worse in any row on any device goes unseen."""

import json
import re

import pytest

from spec.command_line import main

BROKEN, UNCHECKED, GONE = "newly refuted or broken", "no longer checked", "gone"
MENDED, CHECKED, NEW, TOLERANCE = "newly confirmed", "newly checked", "new", "tolerance"
WORSE = (BROKEN, UNCHECKED, GONE)

REFUTED = {"outcome": "refuted", "seen": "assert 1 == 2"}
CRASHED = {"outcome": "crashed", "seen": "SIGSEGV"}
SLOW = {"outcome": "not checked", "reason": "slow", "checks": 0, "detail": "run with --slow"}
NO_GPU = {"outcome": "not checked", "reason": "no-accelerator", "checks": 0, "detail": "none is seen"}
OTHER = {"id": "nn.z"}  # no statement of this specification, as in the records of another commit


def on(device, node="test_a.py::test[accelerator]", **result):
    """Return a result of one node on a device."""
    return {"device": device, "node": node, **result}


@pytest.fixture
def diff(write_records, capsys):
    """Write two files of records and compare them: the status and the output, JSON as an object."""

    def compare(before, after, form="json", **options):
        paths = []
        for name, results in (("a", before), ("b", after)):
            its = {key: value[name] for key, value in options.items()}
            paths.append(str(write_records(f"{name}.jsonl", results=results, **its)))
        status = main(["diff", *paths, "--format", form])
        output = capsys.readouterr().out
        return status, json.loads(output) if form == "json" else output

    return compare


def changes(found):
    """Return (id, change of the statement, changes of its rows), in the order told."""
    return [(s["id"], s["change"], [row["change"] for row in s["rows"]]) for s in found["statements"]]


ROWS = {
    "confirmed, refuted": ([{}], [REFUTED], BROKEN),
    "confirmed, crashed": ([{}], [CRASHED], BROKEN),
    "confirmed, error": ([{}], [{"outcome": "error"}], BROKEN),
    "confirmed, timeout": ([{}], [{"outcome": "timeout"}], BROKEN),
    "crashed, refuted": ([CRASHED], [REFUTED], BROKEN),
    "refuted, crashed": ([REFUTED], [CRASHED], BROKEN),
    "not checked, refuted": ([SLOW], [REFUTED], BROKEN),
    "absent, refuted": ([], [REFUTED], BROKEN),
    "confirmed, not checked": ([{}], [SLOW], UNCHECKED),
    "refuted, not checked": ([REFUTED], [SLOW], UNCHECKED),
    "crashed, not checked": ([CRASHED], [SLOW], UNCHECKED),
    "confirmed, absent": ([{}], [], GONE),
    "refuted, absent": ([REFUTED], [], GONE),
    "not checked, absent": ([SLOW], [], GONE),
    "refuted, confirmed": ([REFUTED], [{}], MENDED),
    "crashed, confirmed": ([CRASHED], [{}], MENDED),
    "not checked, confirmed": ([SLOW], [{}], CHECKED),
    "absent, confirmed": ([], [{}], NEW),
    "absent, not checked": ([], [SLOW], NEW),
    "confirmed twice": ([{}], [{}], None),
    "refuted twice": ([REFUTED], [REFUTED], None),
    "not checked twice": ([SLOW], [NO_GPU], None),
}


@pytest.mark.parametrize(("before", "after", "change"), ROWS.values(), ids=ROWS)
def test_each_change_of_a_row_has_its_group_and_what_is_worse_its_status(diff, before, after, change):
    """The status is 1 where something is worse, and 0 elsewhere."""
    status, found = diff([*before, OTHER], [*after, OTHER])

    assert changes(found) == ([("nn.a", change, [change])] if change else [])
    assert status == found["status"] == (1 if change in WORSE else 0)
    assert found["alike"] == 2 - len(found["statements"])


@pytest.mark.parametrize("change", WORSE)
def test_a_row_that_is_worse_is_seen_behind_one_that_decides(diff, change):
    """A statement that is confirmed, or refuted, by another row as before has lost something all the same."""
    second = on("cuda:0")
    lost = {BROKEN: [second | REFUTED], UNCHECKED: [second | NO_GPU], GONE: []}[change]

    for first in ({}, REFUTED):
        status, found = diff([first, second], [first, *lost])

        assert (status, changes(found)) == (1, [("nn.a", change, [change])])
        assert found["statements"][0]["before"] == first.get("outcome", "confirmed")


def test_statements_stand_in_the_order_of_b_group_by_group(diff):
    """Then come those that only A has."""
    before = [{"id": f"nn.{name}"} for name in "abcdef"]
    after = [REFUTED | {"id": "nn.e"}, SLOW | {"id": "nn.d"}, REFUTED | {"id": "nn.c"}, {"id": "nn.f"}, OTHER]

    _, found = diff(before, after)

    assert [(s["id"], s["change"]) for s in found["statements"]] == [
        ("nn.e", BROKEN), ("nn.c", BROKEN), ("nn.d", UNCHECKED),
        ("nn.a", GONE), ("nn.b", GONE), ("nn.z", NEW),
    ]  # fmt: skip
    assert found["alike"] == 1


def test_a_renamed_check_is_gone_and_new_under_its_statement(diff):
    """Records cannot tell that both are one; a statement of one run alone is told with its outcome."""
    before, after = {"check": "test_old", "node": "a.py::T::test_old[x]"}, {"node": "a.py::T::test_new"}
    still = REFUTED | {"id": "nn.b"}

    status, text = diff([before, still], [after, still, OTHER], "text")
    _, page = diff([before, still], [after, still, OTHER], "markdown")

    assert status == 1
    for told in (text, page.replace("`", "")):
        assert "- nn.a: still confirmed\n  - test_old[x] on cpu: confirmed, now gone\n" in told
        assert "  - test on cpu: new" in told
        assert "\n- nn.z: new, confirmed\n  - test on cpu: new, confirmed\n" in told
    assert "\nRefuted or broken in B, but not newly: `nn.b`.\n" in page


PLACES = {
    "another GPU of a machine": (on("cuda:0"), on("cuda:1"), []),
    "a GPU at last": (on("accelerator", **NO_GPU), on("cuda:0"), [CHECKED]),
    "a GPU no more": (on("cuda:0"), on("accelerator", **NO_GPU), [UNCHECKED]),
    "a GPU that broke before it was named": (on("cuda:0"), on("accelerator", **CRASHED), [BROKEN]),
    "the CPU in place of a GPU": (on("cuda:0"), on("cpu"), [GONE, NEW]),
    "the CPU in place of none": (on("accelerator", **NO_GPU), on("cpu"), [GONE, NEW]),
    "another kind": (on("cuda:0"), on("xpu:0"), [GONE, NEW]),
    "another check": (on("cuda:0"), on("cuda:0", "test_a.py::other"), [GONE, NEW]),
}


@pytest.mark.parametrize(("before", "after", "expected"), PLACES.values(), ids=PLACES)
def test_rows_are_matched_by_node_and_kind_of_device(diff, before, after, expected):
    """A check of one place is not replaced by one of another."""
    _, found = diff([before], [after])

    assert [row["change"] for statement in found["statements"] for row in statement["rows"]] == expected


def test_the_same_device_is_matched_before_another_of_its_kind(diff):
    """Where a node ran on two devices, what became of each is told of each."""
    before = [on("cuda:0"), on("cuda:1", **REFUTED)]

    _, found = diff(before, [on("cuda:1", **REFUTED), on("cuda:0", **SLOW)])

    (statement,) = found["statements"]
    assert [(r["change"], r["before"]["device"], r["after"]["device"]) for r in statement["rows"]] == [
        (UNCHECKED, "cuda:0", "cuda:0")
    ]


SHARES = {
    "twice, to more than a tenth": (0.1, 0.2, True),
    "from nothing": (0.0, 0.11, True),
    "less than twice": (0.5, 0.99, False),
    "up to a tenth": (1e-9, 0.1, False),
    "less": (0.8, 0.2, False),
    "nothing measured before": (None, 0.9, False),
    "nothing measured after": (0.9, None, False),
}


@pytest.mark.parametrize(("before", "after", "told"), SHARES.values(), ids=SHARES)
def test_a_tolerance_is_told_where_much_more_of_it_is_used_up(diff, before, after, told):
    """At least twice as much, and more than a tenth; the status stays 0."""
    status, found = diff([{"tolerance_used": before}], [{"tolerance_used": after}])

    assert (status, changes(found)) == (0, [("nn.a", TOLERANCE, [TOLERANCE])] if told else [])


TROUBLE = "Nothing is worse in B, but its run had trouble. Statements"
TROUBLES = {
    "in A": ("worker lost", None, 0, "Nothing is worse in B. Statements"),
    "in B": (None, "worker lost", 1, TROUBLE),
    "in both": ("worker lost", "worker lost", 1, TROUBLE),
}


@pytest.mark.parametrize(("before", "after", "status", "verdict"), TROUBLES.values(), ids=TROUBLES)
def test_trouble_of_a_run_is_told_and_that_of_b_is_not_good(diff, before, after, status, verdict):
    """No record of a statement tells it."""
    end = {"a": {"seen": before}, "b": {"seen": after}}

    found, text = diff([{}], [{}], "text", end=end)

    assert found == status
    assert verdict in text
    for name, trouble in zip("AB", (before, after), strict=True):
        assert (f"- The run {name} had trouble of its own: worker lost\n" in text) == bool(trouble)


TEXT = """
- A is {folder}/a.jsonl: torch 2.14.0, accelerator none, data stand-in, commit 335f664, numpy 2.4.6
- B is {folder}/b.jsonl: torch 2.15.0, accelerator cuda, data CIFAR-10, commit 335f665+, numpy 2.5.0

Something is worse in B. Statements: 1 newly refuted or broken, 1 newly checked, 1 tolerance, 1 as before.

Refuted or broken in B, but not newly: nn.d.

Worse: newly refuted or broken (1)

- nn.a: confirmed, now refuted
  - should be true: One is one.
  - test, test[x] on cpu: confirmed, now refuted (assert 1 == 2)
  - test on cuda:0, then accelerator: confirmed, now not checked (no-accelerator: none is seen)

Better: newly checked (1)

- nn.b: not checked, now confirmed
  - test on cpu: not checked (slow: run with --slow), now confirmed

To watch: twice as much of a tolerance is used up, or more, and over a tenth of it (1)

- nn.c: still confirmed
  - test on cpu: 5 % of the tolerance, now 62.5 %
"""


def test_text_tells_the_sides_the_verdict_and_each_group(diff, tmp_path):
    """Of the sides no more than the release and what differs."""
    row, gpu = {"node": "a::test[x]"}, {"node": "a::test", "device": "cuda:0"}
    still = REFUTED | {"id": "nn.d"}
    before = [{}, row, gpu, SLOW | {"id": "nn.b"}, {"id": "nn.c", "tolerance_used": 0.05}, still]
    lost = gpu | {"device": "accelerator"} | NO_GPU
    after = [REFUTED, row | REFUTED, lost, {"id": "nn.b"}, {"id": "nn.c", "tolerance_used": 0.625}, still]
    sides = {
        "torch": {"a": "2.14.0", "b": "2.15.0"},
        "accelerator": {"a": None, "b": "cuda"},
        "data": {"a": "stand-in", "b": "CIFAR-10"},
        "commit": {"a": "335f664", "b": "335f665+"},
        "numpy": {"a": "2.4.6", "b": "2.5.0"},
    }

    status, text = diff(before, after, "text", **sides)

    assert status == 1
    assert text == TEXT.format(folder=tmp_path).lstrip("\n")


def test_devices_that_are_alike_are_one_fact(diff):
    """A machine with eight GPUs is told from another in a few words."""
    gpus = [{"name": "H200", "memory_mib": 143771, "driver": driver} for driver in ["570", *["580"] * 7]]

    _, text = diff([{}], [{}], "text", devices={"a": [], "b": gpus})

    assert "a.jsonl: torch 2.15.0+cpu, devices none\n" in text
    assert "b.jsonl: torch 2.15.0+cpu, devices 1 x H200 (driver 570), 7 x H200 (driver 580)\n" in text


def test_many_rows_of_a_statement_are_told_in_few_lines_the_worst_first(diff):
    """Rows of which the same is to be said share a line; how many are left out is said."""
    rows = [{"node": f"a::test[{n}]"} for n in range(20)]
    seen = [REFUTED | {"seen": f"value {n}"} for n in range(6)]
    after = [row | how for row, how in zip(rows, [SLOW] * 10 + seen, strict=False)]

    _, text = diff(rows, after, "text")
    _, unchecked = diff(rows[:8], after[:8], "text")

    assert [line for line in text.splitlines() if line.startswith("  - test[")] == [
        f"  - test[{n + 10}] on cpu: confirmed, now refuted (value {n})" for n in range(5)
    ]
    assert text.endswith("  - and 15 more rows, all of which --format json tells\n")
    assert "  - test[0], test[1], test[2], test[3], test[4], 3 more on cpu: confirmed, now not" in unchecked


def test_json_holds_the_whole_headers_and_the_records_of_each_row(diff, tmp_path):
    """A number that JSON lacks becomes text."""
    _, found = diff([{}], [REFUTED | {"tolerance_used": float("inf")}])

    assert list(found) == ["status", "before", "after", "statements", "still", "alike"]
    assert (found["before"]["path"], found["after"]["trouble"]) == (f"{tmp_path}/a.jsonl", None)
    assert found["after"]["header"]["commit"] == "335f664"
    (statement,) = found["statements"]
    assert (statement["before"], statement["after"]) == ("confirmed", "refuted")
    ((change, before, after),) = (row.values() for row in statement["rows"])
    assert (change, before["outcome"], before["node"]) == (BROKEN, "confirmed", after["node"])
    assert (after["seen"], after["tolerance_used"]) == ("assert 1 == 2", "Infinity")


QUOTED = {
    "tags": ("<img src=x onerror=1> @everyone #1", "`<img src=x onerror=1> @everyone #1`"),
    "lines": ("a\n\n# b\n- c", "`a # b - c`"),
    "backticks": ("a ``` b ` c", "````a ``` b ` c````"),
    "a backtick at the end": ("a`", "`` a` ``"),
    "a backtick at the start": ("`a", "`` `a ``"),
    "nothing to see": ("\n", "` `"),
    "much": ("x" * 400, f"`{'x' * 300}...`"),
}


@pytest.mark.parametrize(("seen", "quoted"), QUOTED.values(), ids=QUOTED)
def test_what_a_file_says_stands_in_markdown_as_code(diff, seen, quoted):
    """It opens no tag, no link and no heading, and mentions nobody."""
    _, page = diff([{}], [REFUTED | {"seen": seen}], "markdown")

    assert re.match(r"## blitz diff\n\n- A is `\S+/a.jsonl`: torch `2.15.0\+cpu`\n- B is `", page)
    assert "\n### Worse: newly refuted or broken (1)\n\n- `nn.a`: confirmed, now refuted\n" in page
    assert f"  - `test` on `cpu`: confirmed, now refuted ({quoted})\n" in page


STRANGE = "a\x1b[2J`b`\x07c\u202ed\x9be\ud800f\u2028g\r|\n# <b>"


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_no_text_of_a_file_moves_the_cursor_or_leaves_its_place(write_records, capsys, form):
    """Whatever string of a file is told, it stays in its line, and in Markdown within code."""
    row = {"sentence": STRANGE, "check": STRANGE, "node": f"{STRANGE}::[{STRANGE}", "device": STRANGE}
    before = write_records("a", [row], cpu=STRANGE, data=STRANGE, end={"seen": STRANGE})
    slow = SLOW | {"id": "nn.b", "detail": STRANGE}
    after = write_records("b", [row | REFUTED | {"seen": STRANGE}, slow], end={"seen": STRANGE})

    assert main(["diff", str(before), str(after), "--format", form]) == 1

    output = capsys.readouterr().out
    assert not [c for c in output if not c.isprintable() and c != "\n"]
    assert output.count(r"\u202e") > 8
    if form != "json":
        assert "\n#" not in re.sub("\n### ", "", output)
    if form == "markdown":
        assert "<b>" in output
        assert "<b>" not in re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", output)


BAD = {
    "unfinished": (lambda text: text[: text.rindex('{"kind": "end"')], 3, "this run did not finish: 1 of an"),
    "damaged": (lambda text: text.replace('"confirmed"', '"good"'), 2, "line 2: outcome: 'good' is not one"),
}


@pytest.mark.parametrize(("change", "status", "sentence"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("bad", ["a", "b"])
def test_a_file_that_cannot_be_trusted_is_one_sentence_and_nothing_is_guessed(
    write_records, capsys, bad, change, status, sentence
):
    """The status is 2, or 3 for a run that did not finish, on either side."""
    paths = {name: write_records(name) for name in "ab"}
    paths[bad].write_text(change(paths[bad].read_text()))

    assert main(["diff", str(paths["a"]), str(paths["b"])]) == status

    output, errors = capsys.readouterr()
    assert (output, errors.count("\n")) == ("", 1)
    assert errors.startswith(f"blitz: {paths[bad]}")
    assert sentence in errors


def test_where_nothing_was_checked_there_is_nothing_to_compare(write_records, capsys):
    """Two runs that checked no statement are not equal: the status is 2."""
    path = str(write_records(results=[SLOW]))

    assert main(["diff", path, path]) == 2

    assert capsys.readouterr().err == (
        "blitz: no statement was checked in these files, so there is nothing to compare\n"
    )
