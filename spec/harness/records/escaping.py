"""Text that somebody else wrote, made fit to be shown: it moves no cursor, hides and reorders nothing."""

import unicodedata

# controls, formats (bidirectional overrides among them), lone surrogates, separators of lines and paragraphs
UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    r"""Return `text` with what a terminal would obey, or not show, written as an escape.

    >>> print(printable("a\x1b[2Jb\u202ec"))
    a\x1b[2Jb\u202ec
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in UNSHOWN and character not in "\n\t"
        else character
        for character in text
    )
