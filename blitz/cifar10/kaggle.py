"""The labels of Kaggle's CIFAR-10: `trainLabels.csv`, with a row "id,label" for each `train/<id>.png`."""

import csv
from pathlib import Path, PurePosixPath

from blitz.cifar10.classes import CLASSES, official_name
from blitz.errors import DataError, why


def label_images(table: Path, images: list[str]) -> list[tuple[str, int]]:
    """Return each image with the number of its class, in the order of the table.

    Raises:
        DataError: a row cannot be read, or images and rows are not one to one.
    """
    labels = _read(table)
    by_id: dict[str, str] = {}
    for image in sorted(images):
        other = by_id.setdefault(PurePosixPath(image).stem, image)
        if other != image:
            raise DataError(f"expected one image for each id of {table}, got {other} and {image}")
    if without := labels.keys() - by_id:
        raise DataError(f"expected an image for each row of {table}, found none for {_some(without)}")
    if without := by_id.keys() - labels:
        raise DataError(f"expected a row for each image in {table}, found none for {_some(without)}")
    return [(by_id[number], label) for number, label in labels.items()]


def _some(ids: set[str]) -> str:
    first = min(ids, key=lambda each: (len(each), each))  # 9 before 10
    return f"id {first}" if len(ids) == 1 else f"id {first} and {len(ids) - 1} more"


def _read(table: Path) -> dict[str, int]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:  # Excel begins a table with a mark
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except UnicodeDecodeError:
        raise DataError(f"expected text in UTF-8 in {table}, got another encoding") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {why(error)}") from error
    if not rows or [cell.lower() for cell in rows[0]] != ["id", "label"]:
        raise DataError(f"expected the header id,label in {table}, got {','.join(rows[0] if rows else [])!r}")
    labels: dict[str, int] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2 or not all(row):
            raise DataError(f"expected an id and a label in line {line} of {table}, got {','.join(row)!r}")
        number, label = row
        if official_name(label) not in CLASSES:
            raise DataError(f"expected a class of CIFAR-10 in line {line} of {table}, got {label!r}")
        if number in labels:
            raise DataError(
                f"expected one row for each id of {table}, got a second for id {number} in line {line}"
            )
        labels[number] = CLASSES.index(official_name(label))
    return labels
