"""What turns tests into a statement: `from spec.harness import statement, fault`.

A name is imported when it is asked for: the command line lies in this package, and its help needs none.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from spec.harness.records.vocabulary import ANSWERED, HOLDS, OUTDATED, QUALIFIED, WRONG
    from spec.harness.statements.statement import each_row, fault, since, statement

__all__ = ["ANSWERED", "HOLDS", "OUTDATED", "QUALIFIED", "WRONG", "each_row", "fault", "since", "statement"]

if not typing.TYPE_CHECKING:

    def __getattr__(name):
        if name in __all__:
            words = "records.vocabulary" if name.isupper() else "statements.statement"
            return getattr(importlib.import_module(f"spec.harness.{words}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
