"""What turns a test into a claim: `from spec.harness import claim, broken_by`."""

from spec.harness.claims import ANSWERED, HOLDS, OUTDATED, QUALIFIED, WRONG, broken_by, claim

__all__ = ["ANSWERED", "HOLDS", "OUTDATED", "QUALIFIED", "WRONG", "broken_by", "claim"]
