"""What lives as long as a run is not looked through for garbage again and again.

PyTorch and thousands of collected tests are a million objects, and a search of them takes half a second.
pytest makes two whenever a run ends, and tests of the harness make hundreds of runs inside of the one.
"""

import gc


class LongLived:
    """Keeps what collection made out of the collector's sight, until the run ends."""

    hidden = False  # by this run, or by one around it

    def pytest_collection_finish(self) -> None:
        """Hide what there is, unless a run around this one has done so."""
        if not LongLived.hidden:
            gc.collect()
            gc.freeze()
            LongLived.hidden = self.hidden = True

    def pytest_unconfigure(self) -> None:
        """Show it again, or native libraries tell at the exit of all that was never freed."""
        if "hidden" in vars(self):
            gc.unfreeze()
            LongLived.hidden = False
