"""What a person can put right: raised with one sentence, shown without a traceback."""


class BlitzError(Exception):
    """Base of the errors below; the command line prints the sentence and exits with the status."""

    status = 2


class DataError(BlitzError):
    """The data set cannot be used as it is."""


class CheckpointError(BlitzError):
    """A checkpoint cannot be used as it is."""


def why(error: Exception) -> str:
    """Say what happened in one line, without a full stop."""
    error = getattr(error, "reason", error)  # of a URLError
    return (
        " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".") or type(error).__name__
    )
