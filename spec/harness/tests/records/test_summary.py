"""The words at the end of a run."""

STATEMENTS = """
@statement("nn.place", notes="3.1")
def test_place(device):
    "A tensor has a place."
    assert torch.ones(1).device

@statement("nn.refuted", notes="3", verdict=WRONG, says="one is two.")
@pytest.mark.parametrize("n", [1, 3])
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
FIRST = '@statement("tensor.a", notes="1")\ndef test_a():\n    "True."\n    assert True'


def test_a_run_ends_with_a_table_and_what_went_wrong(run_spec, make_spec, monkeypatch):
    """A statement counts once, by the worst of its cases, in the order of the notes; a broken one is told."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda *args, **kwargs: False)
    make_spec(FIRST, "spec/section_1/test_first.py")

    result = run_spec(STATEMENTS)

    assert result.parseoutcomes() == {"passed": 3, "failed": 2, "skipped": 2}
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
    result.stdout.fnmatch_lines(
        [
            "0 of 1 GPU statements were checked",
            "not checked: 1 statement, no-data: no CIFAR-10 at hand: fetch it *",
        ]
    )
    text = " ".join(result.stdout.str().split())
    assert (
        "nn.refuted (n 1, cpu): refuted. The notes (3) say: one is two. "
        "Should be true: One is three. Seen: assert 1 == 3"
    ) in text
    assert (
        "cifar.error (cpu): error. The notes (4) say, and it should be true: "
        "Division works. Seen: ZeroDivisionError: division by zero"
    ) in text
