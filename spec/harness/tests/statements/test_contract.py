"""What is not checked has a reason from a closed list, and a run can require that nothing is missing."""

import pytest
import torch

from blitz.cifar10 import data, stand_in
from spec.cifar10 import is_cifar10
from spec.harness.statements.contract import REASONS, check_requirements, not_checked
from spec.harness.tests.accelerator.test_devices import pretend_accelerator

STATEMENT = """
@statement("nn.a", notes="3"{options})
def test_a({fixtures}):
    '''One is one.'''
    {body}
    assert 1 == 1
"""
PLAIN = STATEMENT.format(options="", fixtures="", body="")

NOT_CHECKED = {
    "no-accelerator": "@pytest.mark.gpu" + PLAIN,
    "too-few-devices": "@pytest.mark.multi_gpu(99)" + PLAIN,
    "no-data": STATEMENT.format(options="", fixtures="cifar10", body=""),
    "torch-too-old": "@since('99.0')" + STATEMENT.format(options="", fixtures="", body=""),
    "no-namespaces": STATEMENT.format(options="", fixtures="", body="not_checked('no-namespaces')"),
    "blocked": STATEMENT.format(options="", fixtures="", body="not_checked('blocked')"),
    "not-implemented": "@pytest.mark.gpu"
    + STATEMENT.format(
        options="",
        fixtures="",
        body="raise NotImplementedError(\"Could not run 'aten::sort' with arguments from the 'X' backend.\")",
    ),
    "no-hardware": "@pytest.mark.timed" + PLAIN,
    "slow": "@pytest.mark.slow" + PLAIN,
}


@pytest.mark.parametrize(("reason", "source"), NOT_CHECKED.items(), ids=NOT_CHECKED)
def test_each_reason_is_given_where_it_applies(run_spec, monkeypatch, reason, source):
    """A statement that this machine cannot check is skipped, with the reason in the last lines."""
    if reason in ("too-few-devices", "not-implemented"):
        pretend_accelerator(monkeypatch)

    result = run_spec(source)

    assert result.parseoutcomes() == {"skipped": 1}
    result.stdout.fnmatch_lines([f"not checked: 1 statement, {reason}: *"])


def test_images_of_other_classes_are_not_taken_for_cifar10(run_spec, monkeypatch, tmp_path):
    """A folder of ten other classes confirms nothing about CIFAR-10, and fails a run that requires it."""
    monkeypatch.setattr(data, "find", lambda source=None: ("image folder", tmp_path))
    monkeypatch.setattr(data, "load", lambda source=None: stand_in.draw())

    assert run_spec(NOT_CHECKED["no-data"]).parseoutcomes() == {"skipped": 1}
    assert run_spec(NOT_CHECKED["no-data"], "--require=cifar10").parseoutcomes() == {"errors": 1}


def test_cifar10_is_known_by_classes_and_counts():
    """Sixty thousand images of the ten classes, in their order, are CIFAR-10; one fewer is not."""
    train, test = (torch.arange(10).repeat_interleave(n) for n in (5000, 1000))
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    whole = data.Cifar10(data.Split(None, train), data.Split(None, test), classes, "official")

    assert is_cifar10(whole)
    assert not is_cifar10(whole._replace(test=data.Split(None, test[1:])))
    assert not is_cifar10(whole._replace(classes=classes[::-1]))


def test_the_list_of_reasons_is_closed():
    """A reason that is not on the list is an error of the test, not a skip."""
    with pytest.raises(ValueError, match=r"expected a reason among no-accelerator, .*, got 'tired'"):
        not_checked("tired")

    assert {*NOT_CHECKED, "not-reached"} == set(REASONS)  # which is for a run that broke off


def test_a_statement_skipped_without_a_reason_fails(run_spec):
    """A bare pytest.skip in a statement is no outcome."""
    result = run_spec(STATEMENT.format(options="", fixtures="", body="pytest.skip('not today')"))

    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(["skipped without a reason from the closed list*not today*"])


XFAIL = {
    "mark": "@pytest.mark.xfail" + PLAIN,
    "call": STATEMENT.format(options="", fixtures="", body="pytest.xfail('hm')"),
}


@pytest.mark.parametrize("source", XFAIL.values(), ids=XFAIL)
def test_a_statement_cannot_be_expected_to_fail(run_spec, source):
    """An xfail would turn a refuted statement green, so it is a failure, and the exit status says so."""
    result = run_spec(source)

    assert (result.ret, result.parseoutcomes()) == (1, {"failed": 1})


def test_the_marker_cifar10_is_enough(run_spec):
    """A statement marked cifar10 is not checked on the stand-in, whichever way it loads its data."""
    assert run_spec("@pytest.mark.cifar10" + PLAIN).parseoutcomes() == {"skipped": 1}


def test_slow_statements_run_with_slow(run_spec):
    """What trains for longer runs when it is asked for."""
    assert run_spec(NOT_CHECKED["slow"], "--slow").parseoutcomes() == {"passed": 1}


UNMET = {
    "cuda": ["--require cuda: this machine shows 0 CUDA devices*CUDA_VISIBLE_DEVICES*"],
    "cuda:2": ["--require cuda:2: this machine shows 0 CUDA devices*"],
    "cifar10": [
        "--require cifar10: no CIFAR-10 at hand: fetch it with `blitz verify --download`*--data PATH*"
    ],
    "gpu": ["unknown requirement 'gpu': expected one of cuda, cuda:N (N devices), cifar10"],
    "cuda:0": ["unknown requirement 'cuda:0'*"],
}


@pytest.mark.parametrize(("requirement", "lines"), UNMET.items(), ids=UNMET)
def test_an_unmet_requirement_stops_the_run_at_once(run_spec, monkeypatch, requirement, lines):
    """The run ends before collection, with what is missing and how to provide it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    result = run_spec(PLAIN, f"--require={requirement}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{line}" for line in lines])
    result.stdout.no_fnmatch_line("*collected*")


def test_requirements_may_come_from_the_environment(run_spec, monkeypatch):
    """BLITZ_REQUIRE holds requirements separated by spaces; each of them counts."""
    run_spec(PLAIN)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("BLITZ_REQUIRE", "cuda cifar10")

    result = run_spec(PLAIN)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--require cifar10: no CIFAR-10 at hand*"])


def test_a_required_reason_is_a_failure(run_spec, monkeypatch):
    """Under --require cuda a statement that still finds no accelerator fails."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)

    result = run_spec(NOT_CHECKED["no-accelerator"], "--require=cuda")

    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["*required, but not checked: no-accelerator*"])


def test_two_devices_required_forbid_too_few_devices(monkeypatch, pytestconfig):
    """cuda:2 makes a failure of too-few-devices as well; cuda alone does not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert check_requirements(pytestconfig, ["cuda"]) == {"no-accelerator"}
    assert check_requirements(pytestconfig, ["cuda:2"]) == {"no-accelerator", "too-few-devices"}


def test_the_stand_in_can_be_asked_for(run_spec, monkeypatch, tmp_path):
    """--data stand-in is the drawn data set, whatever BLITZ_DATA names, and not a folder of that name."""
    monkeypatch.setenv("BLITZ_DATA", str(tmp_path))  # a folder without images

    result = run_spec(PLAIN, "--data=stand-in")

    assert result.parseoutcomes() == {"passed": 1}


def test_a_data_folder_that_cannot_be_used_stops_the_run(run_spec, monkeypatch):
    """--data with a folder that is not there is one sentence, before any test."""
    monkeypatch.setenv("BLITZ_DATA", "stand-in")  # put back what --data sets

    result = run_spec(PLAIN, "--data=no/such/folder")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no/such/folder*"])
    result.stdout.no_fnmatch_line("*Traceback*")
