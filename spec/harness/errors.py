"""What a person can put right: raised with one sentence, shown without a traceback."""


class HarnessError(Exception):
    """The command line prints the sentence and exits with the status."""

    status = 2
