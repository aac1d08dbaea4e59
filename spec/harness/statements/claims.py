"""Claims and their sabotages: the decorators, and the rules that collection enforces."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import pytest
from packaging.version import Version
from torch import Tensor

HOLDS = "holds"
QUALIFIED = "qualified"
OUTDATED = "outdated"
WRONG = "wrong"
ANSWERED = "answered"

VERDICTS = {
    HOLDS: "they are right",
    QUALIFIED: "right under conditions that the notes leave out",
    OUTDATED: "right once, not any more",
    WRONG: "not right on any release",
    ANSWERED: "they left it open; it is settled here",
}

SECTIONS = {
    "tensor": "1 Tensor",
    "autograd": "2 Autograd",
    "nn": "3 Neural networks",
    "cifar": "4 CIFAR-10",
    "parallel": "5 Data parallel",
    "derived": "6 Derived material",
    "footnote": "Footnotes",
}

Test = TypeVar("Test", bound=Callable[..., Any])
Graph = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]  # a result, and the leaves behind it by name


@dataclass(frozen=True)
class Sabotage:
    """A planted fault: `owner.name` becomes `replace(what it really is)`."""

    owner: Any
    name: str
    replace: Callable[[Any], Any]

    def __str__(self) -> str:
        owner = self.owner.__name__ if hasattr(self.owner, "__name__") else type(self.owner).__name__
        return f"{owner}.{self.name}"

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Put the fault in place until `patch` is undone."""
        patch.setattr(self.owner, self.name, self.replace(getattr(self.owner, self.name)))


@dataclass(frozen=True)
class Claim:
    """One statement of the notes, with the test that proves what is true of it."""

    id: str
    notes: str
    verdict: str
    says: str | None
    since: str | None
    test: Callable[..., Any]
    graph: Graph | None = None

    @property
    def sentence(self) -> str:
        """What is true: the first paragraph of the test's docstring, in one line."""
        return " ".join((inspect.getdoc(self.test) or "").split("\n\n")[0].split())

    @property
    def section(self) -> str:
        """The heading of the notes that the claim belongs to."""
        return SECTIONS[self.id.split(".")[0]]

    @property
    def sabotages(self) -> list[Sabotage]:
        """The planted faults that the claim's own check has to catch."""
        return getattr(self.test, "sabotages", [])

    @property
    def sabotage_names(self) -> list[str]:
        """One name a sabotage; a second fault in the same place is numbered."""
        names: list[str] = []
        for name in map(str, self.sabotages):
            seen = sum(other.split("#")[0] == name for other in names)
            names.append(f"{name}#{seen + 1}" if seen else name)
        return names


def claim(
    id: str,
    *,
    notes: str,
    verdict: str = HOLDS,
    says: str | None = None,
    since: str | None = None,
    graph: Graph | None = None,
) -> Callable[[Test], Test]:
    """Make a test the proof of a claim; its docstring is what is true.

    Args:
        id: "section.what-it-is-about"; the section is a key of SECTIONS.
        notes: where the notes say it.
        verdict: one of VERDICTS.
        says: what the notes say, where the verdict is not "holds".
        since: the first PyTorch release for which the docstring is true, if not every one.
        graph: computes what the claim is about, for an outline and a picture of its autograd graph.
    """

    def attach(test: Test) -> Test:
        test.claim = Claim(id, notes, verdict, says, since, test, graph)  # type: ignore[attr-defined]
        return test

    return attach


def broken_by(owner: Any, name: str, replace: Callable[[Any], Any]) -> Callable[[Test], Test]:
    """Plant a fault that the claim must catch by its own check.

    Under `pytest --sabotage` the claim runs with `owner.name` set to `replace(owner.name)`.
    """

    def attach(test: Test) -> Test:
        above = getattr(test, "sabotages", [])
        test.sabotages = [Sabotage(owner, name, replace), *above]  # type: ignore[attr-defined]
        return test

    return attach


def before(release: str, since: str) -> bool:
    """Tell whether a PyTorch comes before the release `since`; a pre-release of it does.

    >>> before("2.9.0a0+git", "2.9"), before("2.9.0+cu128", "2.9"), before("2.13.0", "2.9")
    (True, False, False)
    """
    return Version(release) < Version(since)


def why_too_old(release: str, since: str) -> str:
    """Say why a claim that is true since another release is not checked.

    >>> why_too_old("2.9.0a0+git", "2.9")
    'true since PyTorch 2.9, this is 2.9.0a0+git, which counts as before 2.9'
    """
    early = before(release, since) and not before(Version(release).base_version, since)
    return f"true since PyTorch {since}, this is {release}" + (f", which counts as before {since}" * early)


def claim_of(item: Any) -> Claim | None:
    """Return the claim that a collected test proves, if it is one."""
    return getattr(getattr(item, "function", None), "claim", None)


def uncollected(module: ModuleType) -> Iterable[str]:
    """Name the claims of a module that pytest does not collect, by the names of function and class."""
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__:
            tests = [test for test in vars(value) if hasattr(vars(value)[test], "claim")]
            lost = tests if not name.startswith("Test") else [t for t in tests if not t.startswith("test")]
            yield from (f"{name}.{test}" for test in lost)
        elif hasattr(value, "claim") and not name.startswith("test"):
            yield name


def problems(name: str, claim: Claim | None, seen: dict[str, str]) -> Iterable[str]:
    """Say what keeps the test `name` from being a claim; `seen` maps each id so far to its test."""
    if claim is None:
        yield f"{name} is not a claim: put @claim(...) above it, or move it to spec/blitz"
        return
    if not claim.sentence:
        yield f"{name}: the claim {claim.id} has no docstring; its first sentence is what is true"
    if claim.verdict not in VERDICTS:
        yield f"{name}: unknown verdict {claim.verdict!r}; expected one of {', '.join(VERDICTS)}"
    elif claim.verdict != HOLDS and not claim.says:
        yield f"{name}: the verdict is {claim.verdict!r}, so says= must tell what the notes say"
    if claim.id.split(".")[0] not in SECTIONS or "." not in claim.id:
        yield f"{name}: the id {claim.id!r} names no section; expected one of {', '.join(SECTIONS)} and a dot"
    if seen.setdefault(claim.id, name) != name:
        yield f"{name}: the id {claim.id} is taken by {seen[claim.id]}"
