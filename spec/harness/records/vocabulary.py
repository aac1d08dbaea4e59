"""The words of records: verdicts on the notes, outcomes of checks, reasons why something was not checked."""

from pathlib import Path
from typing import Any

from packaging.version import Version

SCHEMA_VERSION = 4
SCHEMA = Path(__file__).with_name("records.schema.json")

CONFIRMED = "confirmed"
REFUTED = "refuted"
NOT_CHECKED = "not checked"
ERROR = "error"
TIMEOUT = "timeout"
CRASHED = "crashed"
BROKEN = (ERROR, TIMEOUT, CRASHED)
OUTCOMES = [CONFIRMED, REFUTED, NOT_CHECKED, ERROR, TIMEOUT, CRASHED]

REASONS = {
    "no-accelerator": "PyTorch sees no accelerator on this machine",
    "too-few-devices": "this machine has fewer CUDA devices than the check needs",
    "no-data": "the data that the statement is about is not at hand",
    "no-package": "a package that the check needs is not installed",
    "torch-too-old": "the check is about a newer PyTorch than this one",
    "no-namespaces": "two hosts on one machine need Linux, root and iproute2",
    "blocked": "the accelerator failed a rung of the ladder that the check stands on",
    "not-implemented": "the accelerator has no such operator or type, and is not CUDA",
    "no-hardware": "an accelerator without hardware of its own has no speed to measure",
    "not-reached": "the run ended before the check",
    "slow": "it takes longer than a few seconds: run with --slow",
}

# what a check may need, besides what a specification names
ACCELERATOR, SEVERAL_GPUS, TIME = NEEDS = ("an accelerator", "several GPUs", "more time")

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

Record = dict[str, Any]


def before(release: str, since: str) -> bool:
    """Tell whether a PyTorch comes before the release `since`; a pre-release of it does.

    >>> before("2.9.0a0+git", "2.9"), before("2.9.0+cu128", "2.9"), before("2.13.0", "2.9")
    (True, False, False)
    """
    return Version(release) < Version(since)
