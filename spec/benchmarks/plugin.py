"""When benchmarks are timed: by `pytest -m benchmark`, in one process. Any other run does them untimed."""

from collections.abc import Generator
from typing import Any

import pytest
import torch

from spec.harness.accelerator import machine
from spec.harness.accelerator.precision import precision_flags


@pytest.hookimpl(wrapper=True)  # before the harness and pytest-xdist hand tests to worker processes
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Have pytest-benchmark time what was chosen by its marker, and nothing else."""
    option = config.option
    if not is_timed(option):
        option.benchmark_disable = True
    elif option.numprocesses or option.tx or option.dist != "no":
        raise pytest.UsageError(
            "-m benchmark times one benchmark after the other in one process: leave out -n, --dist and --tx, "
            "or have them done untimed by --benchmark-disable"
        )
    else:
        option.numprocesses = 0  # on an accelerator, too, where other tests run in workers
    return (yield)


def is_timed(option: Any) -> bool:
    """Tell whether these options ask for times."""
    chosen = "benchmark" in option.markexpr and "not benchmark" not in option.markexpr
    return (chosen or option.benchmark_only) and not option.benchmark_disable


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add what the benchmarks ran on to the files that pytest-benchmark saves."""
    machine_info["blitz"] = {
        "torch": str(torch.__version__),
        **machine.describe(),
        "precision": precision_flags(),
    }
