"""Claims, as the files say that have not become statements yet: a statement that is one test."""

import dataclasses

from spec.harness.statements.statement import fault, statement
from spec.harness.statements.statement import since as since_mark
from spec.notes import HEADINGS

FIRST = dict(
    zip(
        ["tensor", "autograd", "nn", "cifar", "parallel", "derived", "footnote"],
        HEADINGS.values(),
        strict=True,
    )
)


def claim(id, *, notes, since=None, **options):
    """Make a test a statement."""

    def attach(test):
        known = FIRST[id.split(".")[0]]
        heading = notes.split(";")[0].split(",")[0]
        test = statement(id, notes=heading if heading in known else known[-1], **options)(test)
        return since_mark(since)(test) if since else test

    return attach


def broken_by(owner, name, replace):
    """Plant a fault that is called by its place."""

    def attach(test):
        where = owner.__name__ if hasattr(owner, "__name__") else type(owner).__name__
        fault(f"{where}.{name}", owner, name, replace)(test)
        names = {}
        for i, each in enumerate(test.faults):
            base = each.name.split("#")[0]
            names[base] = names.get(base, 0) + 1
            number = f"#{names[base]}" if names[base] > 1 else ""
            test.faults[i] = dataclasses.replace(each, name=base + number)
        return test

    return attach
