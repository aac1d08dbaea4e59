"""What turns a test into a claim: `from spec.harness import claim, broken_by`.

A name is imported when it is asked for: the command line lies in this package, and its help needs none.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from spec.harness.statements.claims import ANSWERED, HOLDS, OUTDATED, QUALIFIED, WRONG, broken_by, claim

__all__ = ["ANSWERED", "HOLDS", "OUTDATED", "QUALIFIED", "WRONG", "broken_by", "claim"]

if not typing.TYPE_CHECKING:

    def __getattr__(name):
        if name in __all__:
            return getattr(importlib.import_module("spec.harness.statements.claims"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
