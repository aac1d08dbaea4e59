"""blitz.cifar10.sources: what lies at a path, and what is said of what cannot be used."""

import pytest

from blitz.cifar10.sources import ARCHIVE, OFFICIAL, look, official_files, refusal
from blitz.errors import DataError
from spec.blitz.data_folders import make

SECOND = "cifar-10-python (1).tar.gz"
FOUND = {
    "a folder that holds the batches": ([OFFICIAL], "", ("official", OFFICIAL)),
    "the batches themselves, whole or not": ([OFFICIAL], OFFICIAL, ("official", OFFICIAL)),
    "the archive": ([ARCHIVE], ARCHIVE, ("official", ARCHIVE)),
    "its second download": ([SECOND], SECOND, ("official", SECOND)),
    "a folder that holds the archive": ([ARCHIVE], "", ("official", ARCHIVE)),
    "batches beside their archive": ([ARCHIVE, OFFICIAL], "", ("official", OFFICIAL)),
    "batches beside images": ([OFFICIAL, "train"], "", ("official", OFFICIAL)),
    "images, with a test part or not": (["train"], "", ("image folder", "")),
    "a folder above a data set": (["jpeg/train", "__MACOSX/train", "runs"], "", ("image folder", "jpeg")),
}


@pytest.mark.parametrize(("names", "named", "found"), FOUND.values(), ids=FOUND)
def test_data_set_is_found_from_the_path_that_a_person_gives(tmp_path, names, named, found):
    """The origin and the place are known from names alone, without opening a file."""
    make(tmp_path, *names)

    assert look(tmp_path / named) == (found[0], tmp_path / found[1])


NOTHING_USED = (
    "expected cifar-10-batches-py, cifar-10-python.tar.gz, or train and test, in the folder PATH, found "
)
ANOTHER_FILE = (
    "expected a folder or cifar-10-python.tar.gz, but PATH is another file: "
    "unpack it if it holds images, or fetch CIFAR-10 with blitz train --download"
)
WITHIN = "expected a whole data set, but PATH lies within one: name ABOVE"
WRONG = {
    "a path where nothing is": ([], "no", "expected a folder with CIFAR-10, but there is no folder PATH"),
    "another archive": (["cifar-10-binary.tar.gz"], "cifar-10-binary.tar.gz", ANOTHER_FILE),
    "a class": (
        ["train/cat"],
        "train/cat",
        "expected a whole data set, but PATH lies within one: name ABOVE",
    ),
    "an empty folder": ([], "", NOTHING_USED + "nothing"),
    "a folder of other things": ([*"fedcb", "cifar-100", ".git"], "", NOTHING_USED + "b, c, cifar-100, d, e"),
}


@pytest.mark.parametrize(("names", "named", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_no_data_set_is_told_in_one_sentence(tmp_path, names, named, sentence):
    """The sentence says what was expected, what lies there, and the way out where there is one."""
    folder = make(tmp_path, *names)

    told = str(refusal(folder / named))

    assert look(folder / named) is None
    assert told == sentence.replace("PATH", str(folder / named)).replace("ABOVE", str(folder))


def test_folder_above_several_data_sets_is_one_sentence(tmp_path):
    """Which of them is meant has to be said."""
    make(tmp_path, "images/train", f"official/{OFFICIAL}")
    sentence = f"^expected one data set in .*, found 2, name one of them: .*/images, .*/official/{OFFICIAL}$"

    with pytest.raises(DataError, match=sentence):
        look(tmp_path)


def test_changed_file_of_an_official_copy_shows_and_a_hidden_one_does_not_count(tmp_path):
    """The files have sizes and times; an archive is its own only file."""
    make(tmp_path, f"{OFFICIAL}/batches.meta", ARCHIVE)
    (tmp_path / OFFICIAL / ".DS_Store").touch()
    (tmp_path / ARCHIVE).write_bytes(b"123")

    assert official_files(tmp_path / OFFICIAL).keys() == {"batches.meta"}
    assert official_files(tmp_path / ARCHIVE) == {ARCHIVE: f"3 {(tmp_path / ARCHIVE).stat().st_mtime_ns}"}
