"""What a specification tells the harness of the notes that it holds to PyTorch."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Measured = Mapping[str, Mapping[str, Any]]  # by statement


class Picture(NamedTuple):
    """A PNG or SVG file, and what it shows, in words."""

    data: bytes
    shows: str
    name: str = ""


class Notes(NamedTuple):
    """The notes as the harness knows them.

    Attributes:
        folders: of the files whose tests all check statements.
        headings: of each section what stands under each heading, all in the order of the notes.
        rungs: the rung of the ladder that an accelerator has to reach, for each section.
        needs: what a check needs whose test asks for a fixture, by the name of the fixture.
        chinese: the file of the statements and titles in Chinese.
        pictures: draws pictures for some statements, by id, from what was measured for them.
    """

    folders: tuple[Path, ...]
    headings: Mapping[str, Mapping[str, str]]
    rungs: Mapping[str, str]
    needs: Mapping[str, str] = {}
    chinese: Path | None = None
    pictures: Callable[[Measured], Mapping[str, Sequence[Picture]]] | None = None

    def files(self) -> Iterator[Path]:
        """Yield the files of the statements, in the order of the folders."""
        for folder in self.folders:
            yield from sorted(folder.rglob("test_*.py"))

    def ids(self) -> list[str]:
        """Return the id of every statement, in the order of the files, whose text is read, not imported."""
        pattern = re.compile(r'^@statement\(\s*"([^"]+)"', re.MULTILINE)
        return [name for path in self.files() for name in pattern.findall(path.read_text(encoding="utf-8"))]

    def section(self, heading: str) -> str | None:
        """Return the section that a heading belongs to."""
        return next((section for section, its in self.headings.items() if heading in its), None)

    def rung(self, heading: str) -> str:
        """Return the rung that the section of a heading stands on."""
        return self.rungs[self.section(heading) or ""]

    def holds(self, file: Path) -> bool:
        """Tell whether all tests of a file check statements."""
        return file.name.startswith("test_") and any(map(file.is_relative_to, self.folders))
