"""A warning fails the test that gives it: in its setup, its call or its teardown, and nowhere else."""

import pytest

# The later ones count more. What pytest itself warns of in a test, such as a folder that it cannot remove,
# is no fault of PyTorch; an exception that nobody could catch may be one. And libraries may find fault with
# their own code, not with ours that calls them.
FILTERS = (
    "error",
    "default::pytest.PytestWarning",
    "error::pytest.PytestUnraisableExceptionWarning",
    "error::pytest.PytestUnhandledThreadExceptionWarning",
    "default:::(PIL|filelock|hypothesis|matplotlib|tqdm)[.]",
)


class StrictWarnings:
    """Marks each test; its own marks, and those of its class and module, count more."""

    def __init__(self, config: pytest.Config) -> None:
        if not config.pluginmanager.hasplugin("warnings"):
            raise pytest.UsageError(
                "do not use -p no:warnings: a warning has to fail the test that causes it"
            )

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Put the mark before all others, since pytest lets a later one count more."""
        item.add_marker(pytest.mark.filterwarnings(*FILTERS), append=False)
