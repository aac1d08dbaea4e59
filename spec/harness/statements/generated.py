"""Hypothesis as this specification uses it: the same cases in every run."""

import hypothesis


def draw_the_same_cases(*, shrink: bool) -> None:
    """Let Hypothesis draw the same cases in every run, and make a failing one small if `shrink`."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile(
        "blitz",
        deadline=None,  # the machine's speed decides nothing
        database=None,
        derandomize=True,
        phases=[*phases, hypothesis.Phase.shrink] if shrink else phases,
        report_multiple_bugs=False,
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,  # a device stays the same in every case
            hypothesis.HealthCheck.differing_executors,  # pytest makes an instance of a class for each test
            hypothesis.HealthCheck.too_slow,
        ],
    )
    hypothesis.settings.load_profile("blitz")
