"""Pictures that other commands wrote: what each says that it shows, and what is refused."""

import io

import pytest
from matplotlib.figure import Figure

from spec.harness.errors import HarnessError
from spec.harness.page.pictures import address, read

SUFFIXES = {"PNG": (".png", "Description", "image/png"), "SVG": (".svg", "Title", "image/svg+xml")}


@pytest.mark.parametrize(("suffix", "field", "kind"), SUFFIXES.values(), ids=SUFFIXES)
def test_picture_shows_what_it_says(suffix, field, kind, tmp_path):
    """The text alternative is what the program that drew the picture has written into it."""
    file = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(file, format=suffix[1:], metadata={field: "A & B"})
    (tmp_path / f"a{suffix}").write_bytes(file.getvalue())
    (tmp_path / "notes.txt").write_text("no picture")

    (picture,) = read([tmp_path])

    assert picture.shows == "A & B"
    assert picture.name == f"{tmp_path.name}/a{suffix}"
    assert address(picture).startswith(f"data:{kind};base64,")


def test_picture_that_says_nothing_shows_its_name(tmp_path):
    """A picture of somebody else's is named after its file."""
    (tmp_path / "cat.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")

    assert [picture.shows for picture in read([tmp_path / "cat.svg"])] == ["cat"]


BROKEN = {
    "no PNG": ("a.png", b"text", "a.png: expected a picture, PNG or SVG"),
    "no text": ("a.svg", b"\xff\xfe\x00", "a.svg: expected a picture, PNG or SVG"),
    "no picture": ("notes.txt", b"text", ": expected a picture or a folder that holds one, PNG or SVG"),
}


@pytest.mark.parametrize(("name", "data", "sentence"), BROKEN.values(), ids=BROKEN)
def test_folder_without_a_picture_that_can_be_shown_is_refused(name, data, sentence, tmp_path):
    """One sentence names the file, or the folder that holds none."""
    (tmp_path / name).write_bytes(data)

    with pytest.raises(HarnessError, match=sentence):
        list(read([tmp_path]))
