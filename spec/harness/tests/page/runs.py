"""Two runs that no machine has made, with every verdict, outcome and need; and what fits a choice."""

import json

from spec.harness.tests.conftest import RESULT, RUN

GPU, GPUS, IMAGES, TIME = "an accelerator", "several GPUs", "CIFAR-10", "more time"
# in the order of the notes: section, heading, verdict, outcome in the older and in the newer run, needs
STATEMENTS = {
    "tensor.dtype-and-device-attributes": ("1 Tensor", "1.3", "holds", "confirmed", "confirmed", [GPU]),
    "tensor.squeeze": ("1 Tensor", "1.4 (2)", "qualified", "confirmed", "confirmed", []),
    "tensor.numpy-shares-memory": ("1 Tensor", "1.5", "holds", "confirmed", "refuted", []),
    "autograd.finetuned-head-learns": ("2 Autograd", "2.7", "holds", "not checked", "not checked", [TIME]),
    "nn.max-pool-single-number": ("3 Neural networks", "3 code comments", "outdated", "error", "error", []),
    "nn.of-another-commit": ("3 Neural networks", "3 loss function", "wrong", None, "confirmed", []),
    "nn.sgd-groups": ("3 Neural networks", "3 update the weights", "holds", "refuted", "confirmed", []),
    "cifar.loss-item": ("4 CIFAR-10", "4 step 4", "holds", "confirmed", "timeout", [IMAGES, TIME]),
    "cifar.display-helpers": ("4 CIFAR-10", "notebook cifar", "wrong", "confirmed", "not checked", [IMAGES]),
    "parallel.dataparallel-imbalance": ("5 Data parallel", "5", "answered", None, "not checked", [GPU, GPUS]),
    "derived.dqn-balances": ("6 Derived material", "6 DQN", "qualified", "crashed", "crashed", [TIME]),
}
REASONS = {GPU: "no-accelerator", IMAGES: "no-data", TIME: "slow"}
SEEN = "assert 2.0 == 1.0\n  +  where 2.0 = " + "a_name_without_any_break_" * 12


def newer():
    """Return the lines of the newer run, the one that a page of a single run is made of."""
    return run({name: row[4] for name, row in STATEMENTS.items()}, torch="2.15.0")


def older():
    """Return the lines of the older run, which knows two statements less."""
    return run({name: row[3] for name, row in STATEMENTS.items() if row[3]}, torch="2.6.0")


def run(outcomes, **header):
    """Return the lines of a run: two rows of each statement, the second of which decides."""
    results = [line for name, outcome in outcomes.items() for line in rows(name, outcome)]
    count, bad = len(results), {"refuted", "error", "timeout", "crashed"} & set(outcomes.values())
    end = {"collected": count, "ended": count, "records": count, "exit_status": int(bool(bad)), "seen": None}
    return [RUN | header, *results, {"kind": "end", **end}]


def rows(id, outcome):
    """Return two rows of a check: one that confirms it or was not checked, and one of that outcome."""
    section, heading, verdict, _, _, needs = STATEMENTS[id]
    common = {
        "id": id, "section": section, "notes": heading, "verdict": verdict, "gpu": GPU in needs,
        "needs": [need for need in needs if need != GPU], "check": f"test_{id.replace('.', '_')}_is_so",
        "sentence": f"Of {heading.upper()} it is true what `{id}` says, and {'a_name_that_is_long_' * 4}.",
        "says": None if verdict == "holds" else f"something else than `{id}`",
    }  # fmt: skip
    skipped = {"outcome": "not checked", "reason": REASONS[needs[0]] if needs else "no-package", "checks": 0}
    worse = {"outcome": outcome, "seen": SEEN}
    first = {"measured": {"accuracy": 0.53125}, "tolerance_used": 0.25} if outcome == "confirmed" else skipped
    second = {"confirmed": {}, "not checked": skipped}.get(outcome, worse)
    node = f"spec/section/test_file.py::{common['check']}"
    return [
        RESULT | common | row | {"node": f"{node}[row {number}]"}
        for number, row in enumerate((first, second), 1)
    ]


def written(path, lines):
    """Write the lines of a run; return their file."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def expected(**chosen):
    """Return the ids of what fits a section, a verdict, an outcome in the newer run, and a need."""
    return [
        name
        for name, (section, _, verdict, _, outcome, needs) in STATEMENTS.items()
        if section == chosen.get("section", section)
        and verdict == chosen.get("verdict", verdict)
        and outcome == chosen.get("outcome", outcome)
        and chosen.get("needs", "") in [*needs, ""]
    ]
