"""What is not checked has a reason from a closed list, and a run can require that nothing is missing."""

import pytest
import torch

from blitz.cifar10 import data
from spec.cifar10 import is_cifar10
from spec.harness.records.vocabulary import REASONS
from spec.harness.statements.contract import check_requirements, not_checked
from spec.harness.tests.accelerator.test_devices import pretend_accelerator


def statement(name, mark="", fixtures="", body=""):
    """Return the source of a true statement."""
    return f'''
{mark}
@statement("nn.{name}", notes="3")
def test_{name.replace("-", "_")}({fixtures}):
    """One is one."""
    {body}
    assert 1 == 1
'''


LACKS = "raise NotImplementedError(\"Could not run 'aten::sort' with arguments from the 'X' backend.\")"
WITHOUT_ACCELERATOR = {
    "no-accelerator": {"mark": "@pytest.mark.gpu"},
    "no-data": {"fixtures": "cifar10"},
    "no-package": {"body": "not_checked('no-package')"},
    "torch-too-old": {"mark": "@since('99.0')"},
    "no-namespaces": {"body": "not_checked('no-namespaces')"},
    "blocked": {"body": "not_checked('blocked')"},
    "no-hardware": {"mark": "@pytest.mark.timed"},
    "slow": {"mark": "@pytest.mark.slow"},
}
WITH_ONE = {
    "too-few-devices": {"mark": "@pytest.mark.multi_gpu(99)"},
    "not-implemented": {"mark": "@pytest.mark.gpu", "body": LACKS},
}


@pytest.mark.parametrize("sources", [WITHOUT_ACCELERATOR, WITH_ONE], ids=["the CPU", "an accelerator"])
def test_each_reason_is_given_where_it_applies(run_spec, monkeypatch, sources):
    """A statement that this machine cannot check is skipped, with the reason in the last lines."""
    pretend_accelerator(monkeypatch)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: sources is WITH_ONE)

    result = run_spec("".join(statement(reason, **given) for reason, given in sources.items()))

    assert result.parseoutcomes() == {"skipped": len(sources)}
    for reason in sources:
        result.stdout.fnmatch_lines([f"not checked: 1 statement, {reason}: *"])


def test_the_list_of_reasons_is_closed():
    """A reason that is not on the list is an error of the test, not a skip."""
    with pytest.raises(ValueError, match=r"expected a reason among no-accelerator, .*, got 'tired'"):
        not_checked("tired")

    assert {*WITHOUT_ACCELERATOR, *WITH_ONE, "not-reached"} == set(
        REASONS
    )  # that one is of a run that broke off


def test_a_statement_that_excuses_itself_in_another_way_fails(run_spec):
    """A bare skip is no outcome, and an xfail would turn a refuted statement green."""
    excuses = [
        statement("skipped", body="pytest.skip('not today')"),
        statement("marked", mark="@pytest.mark.xfail"),
        statement("called", body="pytest.xfail('hm')"),
    ]

    result = run_spec("".join(excuses))

    assert (result.ret, result.parseoutcomes()) == (1, {"failed": 3})
    result.stdout.fnmatch_lines(["skipped without a reason from the closed list*not today*"])


UNMET = {
    "cuda": "--require cuda: this machine shows 0 CUDA devices.*CUDA_VISIBLE_DEVICES",
    "cuda:2": "--require cuda:2: this machine shows 0 CUDA devices",
    "cifar10": "--require cifar10: no CIFAR-10 at hand: fetch it with `blitz verify --download`.*--data PATH",
    "gpu": r"unknown requirement 'gpu': expected one of cuda, cuda:N \(N devices\), .*cifar10",
}


@pytest.mark.parametrize(("requirement", "line"), UNMET.items(), ids=UNMET)
def test_an_unmet_requirement_says_what_is_missing(pytestconfig, monkeypatch, requirement, line):
    """And how to provide it."""
    monkeypatch.setenv("BLITZ_DATA", "stand-in")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(pytest.UsageError, match=line):
        check_requirements(pytestconfig, [requirement])


@pytest.fixture
def two_gpus(monkeypatch):
    """Have PyTorch report two CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_requirements_may_come_from_the_environment(run_spec, monkeypatch, two_gpus):
    """BLITZ_REQUIRE holds some, separated by spaces; one that is not met stops the run at once."""
    monkeypatch.setenv("BLITZ_REQUIRE", "cuda cifar10")

    result = run_spec(statement("a"))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--require cifar10: no CIFAR-10 at hand*"])
    result.stdout.no_fnmatch_line("*collected*")


def test_a_required_reason_is_a_failure(run_spec, monkeypatch, two_gpus):
    """Under --require cuda a statement that still finds no accelerator fails."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)

    result = run_spec(statement("a", mark="@pytest.mark.gpu"), "--require=cuda")

    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["*required, but not checked: no-accelerator*"])


def test_two_devices_required_forbid_too_few_devices(pytestconfig, two_gpus):
    """cuda:2 makes a failure of too-few-devices as well; cuda alone does not."""
    assert check_requirements(pytestconfig, ["cuda"]) == {"no-accelerator"}
    assert check_requirements(pytestconfig, ["cuda:2"]) == {"no-accelerator", "too-few-devices"}


def test_images_of_other_classes_are_not_taken_for_cifar10(run_spec, monkeypatch, tmp_path):
    """A folder of ten other classes confirms nothing about CIFAR-10, and fails a run that requires it."""
    monkeypatch.setattr(data, "find", lambda source=None: ("image folder", tmp_path))
    labels = data.Split(None, torch.arange(10))
    monkeypatch.setattr(data, "load", lambda source=None: data.Cifar10(labels, labels, ("a", "b"), "folder"))
    source = statement("a", fixtures="cifar10")

    assert run_spec(source).parseoutcomes() == {"skipped": 1}
    assert run_spec(source, "--require=cifar10").parseoutcomes() == {"errors": 1}


def test_cifar10_is_known_by_classes_and_counts():
    """Sixty thousand images of the ten classes, in their order, are CIFAR-10; one fewer is not."""
    train, test = (torch.arange(10).repeat_interleave(n) for n in (5000, 1000))
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    whole = data.Cifar10(data.Split(None, train), data.Split(None, test), classes, "official")

    assert is_cifar10(whole)
    assert not is_cifar10(whole._replace(test=data.Split(None, test[1:])))
    assert not is_cifar10(whole._replace(classes=classes[::-1]))


def test_data_names_the_stand_in_or_a_folder_that_can_be_used(run_spec, monkeypatch, tmp_path):
    """--data counts more than BLITZ_DATA; a folder that is not there is one sentence, before any test."""
    monkeypatch.setenv("BLITZ_DATA", str(tmp_path))  # a folder without images

    drawn = run_spec(statement("a", mark="@pytest.mark.cifar10"), "--data=stand-in")
    refused = run_spec(statement("a"), "--data=no/such/folder")

    assert drawn.parseoutcomes() == {"skipped": 1}
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*no/such/folder*"])
    refused.stdout.no_fnmatch_line("*Traceback*")
