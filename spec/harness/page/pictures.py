"""The pictures of a page: files that other commands wrote, and what each says that it shows."""

import base64
import html
import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from spec.harness.errors import HarnessError
from spec.harness.statements.notes import Picture

KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
TITLE = re.compile(r"<dc:title>(.*?)</dc:title>", re.DOTALL)


def address(picture: Picture) -> str:
    """Return a picture itself, as an address that a page can hold."""
    kind = KINDS[".png" if picture.data.startswith(b"\x89PNG") else ".svg"]
    return f"data:{kind};base64,{base64.b64encode(picture.data).decode()}"


def read(paths: Iterable[Path]) -> Iterator[Picture]:
    """Yield the pictures among these files and folders.

    Raises:
        HarnessError: there is none in one of them, or one cannot be read.
    """
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        files = [file for file in files if file.suffix in KINDS and file.is_file()]
        if not files:
            raise HarnessError(f"{path}: expected a picture or a folder that holds one, PNG or SVG")
        for file in files:
            try:
                data = file.read_bytes()
                shows = _shown_in(data, file.suffix) or file.stem
            except (OSError, SyntaxError, ValueError) as error:
                raise HarnessError(f"{file}: expected a picture, PNG or SVG: {error}") from None
            yield Picture(data, shows, f"{file.parent.name}/{file.name}")


def _shown_in(data: bytes, suffix: str) -> str | None:
    """Return what a picture says that it shows."""
    if suffix == ".svg":
        found = TITLE.search(data.decode())
        return html.unescape(found[1]) if found else None
    with Image.open(BytesIO(data), formats=["PNG"]) as image:
        return str(image.info.get("Description", "")) or None
