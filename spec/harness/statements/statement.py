"""Statements and their faults: the decorators, and the rules that collection enforces."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from packaging.version import Version
from torch import Tensor

from spec.harness.records.vocabulary import HOLDS, VERDICTS
from spec.harness.statements.notes import Notes

since = pytest.mark.since  # @since("2.3"): the check, or a whole statement, is true from that release on
each_row = pytest.mark.each_row  # each row of the check has to catch a fault, not just one of them

NOTES = pytest.StashKey[Notes]()

Proof = TypeVar("Proof", bound=Callable[..., Any])  # a class, or a single test function
Graph = Callable[[], tuple[Tensor, Mapping[str, Tensor]]]  # a result, and the leaves behind it by name


@dataclass(frozen=True)
class Fault:
    """A planted mistake: `owner.attribute` becomes `replace(what it really is)`."""

    name: str
    owner: Any
    attribute: str
    replace: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.name

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Put the fault in place until `patch` is undone."""
        patch.setattr(self.owner, self.attribute, self.replace(getattr(self.owner, self.attribute)))


@dataclass(frozen=True)
class Statement:
    """What the notes say in one place, with the class or function whose checks prove what is true of it."""

    id: str
    notes: str
    verdict: str
    says: str | None
    graph: Graph | None
    proof: Any

    @property
    def sentence(self) -> str:
        """What is true: the first paragraph of the docstring, in one line."""
        return " ".join((inspect.getdoc(self.proof) or "").split("\n\n")[0].split())

    @property
    def heading(self) -> str:
        """The heading of the notes that it belongs to, the first of those that say it."""
        return self.notes.partition("; ")[0]

    @property
    def since(self) -> str | None:
        """The first PyTorch release on which the whole statement is true, None for all that are supported."""
        marks = getattr(self.proof, "pytestmark", [])
        return next((mark.args[0] for mark in marks if mark.name == "since"), None)

    @property
    def faults(self) -> list[Fault]:
        """The planted mistakes that the checks have to catch."""
        return vars(self.proof).get("faults", [])

    @property
    def checks(self) -> list[str]:
        """The names of its test functions."""
        if not inspect.isclass(self.proof):
            return [self.proof.__name__]
        return [name for name in dir(self.proof) if name.startswith("test")]


def statement(
    id: str, *, notes: str, verdict: str = HOLDS, says: str | None = None, graph: Graph | None = None
) -> Callable[[Proof], Proof]:
    """Make a class of tests, or a single test, the proof of a statement; its docstring is what is true.

    Args:
        id: "section.what-it-is-about".
        notes: the heading of the notes that says it; further ones after a semicolon.
        verdict: one of VERDICTS.
        says: what the notes say, where the verdict is not "holds".
        graph: computes what the statement is about, for an outline and a picture of its autograd graph.
    """

    def attach(proof: Proof) -> Proof:
        made = Statement(id, notes, verdict, says, graph, proof)
        if problem := _problem(made):
            raise RuleError(f"{proof.__qualname__}: {problem}")
        proof.statement = made  # type: ignore[attr-defined]
        return proof

    return attach


class RuleError(pytest.Collector.CollectError):
    """A statement breaks a rule: pytest shows the sentence, and runs nothing."""


def _problem(statement: Statement) -> str | None:
    """Say which rule a statement breaks by itself."""
    *classes, name = statement.proof.__qualname__.rpartition("<locals>.")[2].split(".")
    is_class = inspect.isclass(statement.proof)
    collected = name.startswith("Test" if is_class else "test") and statement.checks
    if not collected or not all(around.startswith("Test") for around in classes):
        return f"pytest does not collect the statement {statement.id}: expected Test... or test_..."
    if not statement.sentence:
        return f"the statement {statement.id} has no docstring; its first paragraph is what is true"
    if statement.verdict not in VERDICTS:
        return f"unknown verdict {statement.verdict!r}; expected one of {', '.join(VERDICTS)}"
    if statement.verdict != HOLDS and not statement.says:
        return f"the verdict is {statement.verdict!r}, so says= must tell what the notes say"
    return None


def fault(name: str, owner: Any, attribute: str, replace: Callable[[Any], Any]) -> Callable[[Proof], Proof]:
    """Plant a mistake that at least one check of the statement has to catch by its own assertion.

    Args:
        name: the mistake in words, such as "from_numpy copies its array".
        owner: the module, class or object that the mistake is made in.
        attribute: what is replaced there.
        replace: takes the real thing, and returns the faulty one.
    """

    def attach(proof: Proof) -> Proof:
        below = vars(proof).get("faults", [])
        if not name.isascii():
            raise RuleError(f"{name!r} cannot be typed after -k: use ASCII in the names of faults")
        if name in map(str, below):
            raise RuleError(f"{proof.__qualname__}: two faults are called {name!r}")
        proof.faults = [Fault(name, owner, attribute, replace), *below]  # type: ignore[attr-defined]
        return proof

    return attach


def notes_of(config: pytest.Config) -> Notes:
    """Return the notes that the specification of a run tells of; its conftest.py may be read late."""
    if NOTES not in config.stash:
        notes: Notes | None = config.hook.pytest_notes()
        if notes is None:
            return Notes((), {}, {})
        config.stash[NOTES] = notes
    return config.stash[NOTES]


def statement_of(item: Any) -> Statement | None:
    """Return the statement that a collected test checks, if it checks one."""
    own = getattr(getattr(item, "function", None), "statement", None)
    return own or getattr(getattr(item, "cls", None), "statement", None)


def since_of(item: Any) -> str | None:
    """Return the first PyTorch release on which a collected test passes, None for all that are supported."""
    releases = [mark.args[0] for mark in item.iter_markers("since")]
    return max(releases, key=Version, default=None)
