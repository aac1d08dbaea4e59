"""What is collected: the rules that claims keep, and the marks that they get."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from spec.harness.places import node_of, real
from spec.harness.statements import sabotage
from spec.harness.statements.claims import claim_of, problems, uncollected

MARKERS = (
    "gpu: needs an accelerator",
    "multi_gpu(n): needs n CUDA devices",
    "asks_the_device: is about a truth value that a device gives, and checks on the CPU what follows from it",
    "timed: measures time on an accelerator, alone on the machine's devices",
    "cifar10: needs real CIFAR-10",
    "dated: is true since a release of PyTorch that the claim names",
    "slow: takes longer than a few seconds; runs with --slow",
    "benchmark: measures speed (pytest-benchmark)",
)

SEEN_IDS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks, of which pytest refuses any other."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[SEEN_IDS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Stop at a test in spec/test_*.py that breaks a rule of claims, with one message for the file."""
    report = yield
    if report.failed:
        return report
    found: list[str] = []
    specified = _is_specification(collector.path)
    if specified and report.skipped:
        found.append(
            f"{collector.path.name} skips itself; a claim that cannot be checked is not_checked(...)"
        )
    if specified and isinstance(collector, pytest.Module) and report.passed:
        found += [f"{name} is a claim that pytest does not collect" for name in uncollected(collector.obj)]
    for item in report.result:
        if isinstance(item, pytest.Function) and (specified or claim_of(item)):
            name = node_of(item).removeprefix("spec/").split("[")[0]
            found += problems(name, claim_of(item), collector.config.stash[SEEN_IDS])
            if type(item) is not pytest.Function or "subtests" in item.fixturenames:
                found.append(f"{name} is a unittest or has subtests, whose checks cannot be told apart")
    if found:
        report.outcome = "failed"
        report.longrepr = "\n".join(dict.fromkeys(found))
        report.result = []
    return report


def _is_specification(path: Path | None) -> bool:
    if path is None:
        return False
    place = real(str(path))
    return place.parent.name == "spec" and place.name.startswith("test_")


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Under --sabotage, make one run of each claim and sabotage."""
    claim = getattr(metafunc.function, "claim", None)
    if metafunc.config.option.sabotage and claim is not None:
        sabotage.parametrize(metafunc, claim)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what reads CIFAR-10 and what has a history; under --sabotage leave out what is no claim."""
    for item in items:
        if "cifar10" in getattr(item, "fixturenames", ()):
            item.add_marker("cifar10")
        claim = claim_of(item)
        if claim is not None and claim.since:
            item.add_marker("dated")
    if config.option.sabotage:
        config.hook.pytest_deselected(items=[item for item in items if claim_of(item) is None])
        items[:] = [item for item in items if claim_of(item) is not None]
