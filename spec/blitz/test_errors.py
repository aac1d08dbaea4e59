"""blitz.errors: what went wrong, in a few words."""

from urllib.error import URLError

import pytest

from blitz.errors import why

REASONS = {
    "several lines": (ValueError("one,\n  two."), "one, two"),
    "the system's words": (
        FileNotFoundError(2, "No such file or directory", "a.png"),
        "No such file or directory",
    ),
    "no words": (EOFError(), "EOFError"),
    "an address": (URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
}


@pytest.mark.parametrize(("error", "words"), REASONS.values(), ids=REASONS)
def test_why_says_what_happened_in_a_few_words(error, words):
    """One line without a full stop or an errno."""
    assert why(error) == words
