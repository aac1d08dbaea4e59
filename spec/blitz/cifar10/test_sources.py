"""blitz.cifar10.sources: what lies at a path, and what is said of what cannot be used."""

import pytest

from blitz.cifar10.sources import ARCHIVE, OFFICIAL, look, official_files, refusal
from blitz.errors import DataError
from spec.blitz.data_folders import write_image_folder


def make(*names):
    """Return what makes empty folders and, where a name has a suffix, empty files in a folder."""

    def layout(folder):
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(parents=True)

    return layout


FOUND = {
    "a folder that holds the batches": (make(OFFICIAL), "", ("official", OFFICIAL)),
    "the batches themselves, whole or not": (make(OFFICIAL), OFFICIAL, ("official", OFFICIAL)),
    "the archive": (make(ARCHIVE), ARCHIVE, ("official", ARCHIVE)),
    "its second download": (
        make("cifar-10-python (1).tar.gz"),
        "cifar-10-python (1).tar.gz",
        ("official", "cifar-10-python (1).tar.gz"),
    ),
    "a folder that holds the archive": (make(ARCHIVE), "", ("official", ARCHIVE)),
    "batches beside their archive": (make(ARCHIVE, OFFICIAL), "", ("official", OFFICIAL)),
    "batches beside images": (make(OFFICIAL, "train"), "", ("official", OFFICIAL)),
    "images, with a test part or not": (make("train"), "", ("image folder", "")),
    "a folder above a data set": (make("jpeg/train", "__MACOSX/train", "runs"), "", ("image folder", "jpeg")),
}


@pytest.mark.parametrize(("layout", "named", "found"), FOUND.values(), ids=FOUND)
def test_data_set_is_found_from_the_path_that_a_person_gives(tmp_path, layout, named, found):
    """The origin and the place are known from names alone, without opening a file."""
    layout(tmp_path)

    assert look(tmp_path / named) == (found and (found[0], tmp_path / found[1]))


NOTHING_USED = (
    "expected cifar-10-batches-py, cifar-10-python.tar.gz, or train and test, in the folder PATH, found "
)
WRONG = {
    "a path where nothing is": (
        make(),
        "none",
        "expected a folder with CIFAR-10, but there is no folder PATH",
    ),
    "another archive": (
        make("cifar-10-binary.tar.gz"),
        "cifar-10-binary.tar.gz",
        "expected a folder or cifar-10-python.tar.gz, but PATH is another file: "
        "unpack it if it holds images, or fetch CIFAR-10 with blitz train --download",
    ),
    "a class": (
        write_image_folder,
        "train/cat",
        "expected a whole data set, but PATH lies within one: name FOLDER",
    ),
    "an empty folder": (make(), "", NOTHING_USED + "nothing"),
    "a folder of other things": (
        make("f", "e", "d", "c", "b", "cifar-100-python", ".git"),
        "",
        NOTHING_USED + "b, c, cifar-100-python, d, e",
    ),
}


@pytest.mark.parametrize(("layout", "named", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_no_data_set_is_told_in_one_sentence(tmp_path, layout, named, sentence):
    """The sentence says what was expected, what lies there, and the way out where there is one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    layout(folder)

    told = str(refusal(folder / named))

    assert look(folder / named) is None
    assert told == sentence.replace("PATH", str(folder / named)).replace("FOLDER", str(folder))


def test_folder_above_several_data_sets_is_one_sentence(tmp_path):
    """Which of them is meant has to be said."""
    make("images/train", f"official/{OFFICIAL}")(tmp_path)
    sentence = f"^expected one data set in .*, found 2, name one of them: .*/images, .*/official/{OFFICIAL}$"

    with pytest.raises(DataError, match=sentence):
        look(tmp_path)


def test_changed_file_of_an_official_copy_shows_and_a_hidden_one_does_not_count(tmp_path):
    """The files have sizes and times; an archive is its own only file."""
    make(f"{OFFICIAL}/.DS_Store", f"{OFFICIAL}/batches.meta", ARCHIVE)(tmp_path)
    (tmp_path / ARCHIVE).write_bytes(b"123")

    assert official_files(tmp_path / OFFICIAL).keys() == {"batches.meta"}
    assert official_files(tmp_path / ARCHIVE) == {ARCHIVE: f"3 {(tmp_path / ARCHIVE).stat().st_mtime_ns}"}
