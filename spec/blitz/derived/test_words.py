"""blitz/derived/words.py: texts of people, and the help texts of Python."""

import pydoc_data.topics

import pytest

from blitz.derived import words
from blitz.errors import DataError


@pytest.fixture
def file(tmp_path):
    """A path for a text."""
    return tmp_path / "text.txt"


DIFFERENT = " ".join(f"{number:b}".translate({48: "a", 49: "b"}) for number in range(1000))
REFUSED = {
    "short": (b"too short", "expected a text of at least 1000 words, {} has 3"),
    "empty": (b"", "expected a text of at least 1000 words, {} has 0"),
    "other encoding": (b"Stra\xdfe " * 1000, "expected a text in UTF-8, {} is not: convert it first"),
    "no word again": (DIFFERENT.encode(), "expected words that occur 3 times or more, {} has none"),
    "no file": (None, "cannot read {}: No such file or directory"),
}


@pytest.mark.parametrize(("content", "sentence"), REFUSED.values(), ids=REFUSED)
def test_text_that_nothing_can_be_learned_from_is_refused(file, content, sentence):
    """In one sentence that names the file."""
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(DataError) as refusal:
        words.read(file)

    assert str(refusal.value) == sentence.format(file)


TEXTS = {
    "English": "A word, another.\n\nIt isn't\n(or 'is') x_1 <= 2.5!",
    "Chinese and others": "我能吞下玻璃，而不伤身体。\n\nÜber 玻璃 & 硝子を食べる。",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_joined_words_are_the_text(text):
    """Up to white space, which is a space each; a digit, or a Chinese or Japanese sign, is a word."""
    found = words.split(text)

    assert "".join(found) == "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")) + "\n\n"
    assert max(len(word.strip()) for word in found) <= 7


def test_text_is_parted_in_its_order_and_rare_words_are_unknown(file):
    """What occurs in the held-out part alone has no number; the byte order mark is no word."""
    file.write_bytes(b"\xef\xbb\xbf" + b"a b " * 400 + b"a c " * 50 + b"d d " * 49 + b"d")

    text = words.read(file)

    assert text.vocabulary == ["<unk>", " b", " a"]
    assert [len(part) for part in text[-3:]] == [800, 100, 100]
    assert text.validation[:4].tolist() == [2, 0, 2, 0]
    assert set(text.heldout.tolist()) == {0}
    assert text.size.startswith("1000 words, CRC-32 ")


def test_texts_with_as_many_words_differ_in_their_checksum(file):
    """By it a checkpoint knows the text that it was trained on."""
    sizes = set()
    for text in ("a b " * 500, "b a " * 500):
        file.write_text(text)
        sizes.add(words.read(file).size)

    assert {size.partition(",")[0] for size in sizes} == {"1001 words"}
    assert len(sizes) == 2


def test_vocabulary_has_an_end(file, monkeypatch):
    """The most frequent words stay."""
    monkeypatch.setattr(words, "MOST_WORDS", 3)
    file.write_text("a b a c a b " * 300)

    assert words.read(file).vocabulary == ["<unk>", " a", " b"]


def test_help_texts_come_in_one_order_and_say_nothing_twice(monkeypatch):
    """They are the same whatever the order of their topics; the name says which Python has brought them."""
    text = words.read(None)
    topics = dict(reversed(pydoc_data.topics.topics.items()))
    monkeypatch.setattr(pydoc_data.topics, "topics", topics)

    again = words.read(None)

    assert text.name.startswith("the help texts of Python 3.")
    assert again.size == text.size
    assert 80_000 < len(text.train) + len(text.validation) + len(text.heldout) < 120_000
    paragraphs = words._help_texts().split(words.PARAGRAPH)
    assert len(paragraphs) == len(set(paragraphs)) > 1000
