"""The words at the end of a run."""

STATEMENTS = """
@statement("nn.place", notes="3.1")
def test_place(device):
    "A tensor has a place."
    assert torch.ones(1).device

@statement("nn.refuted", notes="3", verdict=WRONG, says="one is two.")
@pytest.mark.parametrize("n", [1])
def test_refuted(n):
    "One is three."
    assert n == 3

@statement("cifar.error", notes="4")
def test_error():
    "Division works."
    1 / 0

@statement("nn.real", notes="3")
def test_real(cifar10):
    "There are ten classes."
    assert len(cifar10.classes) == 10
"""


def test_table_counts_statements_in_the_order_of_the_notes(run_spec, make_spec):
    """A statement counts once, by the worst of its cases that were checked; sections stand in their order."""
    make_spec(
        '@statement("tensor.a", notes="1")\ndef test_a():\n    "True."\n    assert True',
        "spec/section_1/test_first.py",
    )

    result = run_spec(STATEMENTS)

    assert result.parseoutcomes() == {"passed": 2, "failed": 2, "skipped": 2}
    result.stdout.fnmatch_lines(
        [
            "section of the notes  statements  confirmed  refuted  not checked  error",
            "1 Tensor                       1          1        0            0      0",
            "3 Neural networks              3          1        1            1      0",
            "4 CIFAR-10                     1          0        0            0      1",
            "in all                         5          2        1            1      1",
        ],
        consecutive=True,
    )


def test_table_has_no_column_of_errors_without_one(run_spec):
    """A run in which nothing went wrong shows four columns."""
    result = run_spec(STATEMENTS, "-k", "place")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["section of the notes  statements  confirmed  refuted  not checked"])


def test_a_refuted_statement_is_told_in_one_paragraph(run_spec):
    """What the notes say, what should be true, what was seen, in this order."""
    text = " ".join(run_spec(STATEMENTS).stdout.str().split())

    assert (
        "nn.refuted (n 1, cpu): refuted. The notes (3) say: one is two. "
        "Should be true: One is three. Seen: assert 1 == 3"
    ) in text


def test_a_statement_that_holds_is_told_once(run_spec):
    """Where the notes are right, what they say is what should be true."""
    text = " ".join(run_spec(STATEMENTS).stdout.str().split())

    assert (
        "cifar.error (cpu): error. The notes (4) say, and it should be true: "
        "Division works. Seen: ZeroDivisionError: division by zero"
    ) in text


def test_what_was_not_checked_is_counted_by_reason(run_spec):
    """The last lines say how many statements were not checked, and why."""
    result = run_spec(STATEMENTS, "-k", "place or real")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["not checked: 1 statement, no-data: *"])


def test_gpu_statements_are_counted_even_where_none_was_checked(run_spec, monkeypatch):
    """Without an accelerator the run says that 0 of its GPU statements were checked."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda *args, **kwargs: False)

    result = run_spec(STATEMENTS, "-m", "gpu")

    assert result.ret == 0
    result.stdout.fnmatch_lines(["0 of 1 GPU statements were checked"])
