"""The labels of Kaggle's CIFAR-10: `trainLabels.csv`, with a row "id,label" for each `train/<id>.png`."""

import csv
from pathlib import Path, PurePosixPath

from blitz.cifar10.classes import CLASSES, official_name
from blitz.errors import DataError, why


def label_images(table: Path, images: list[str]) -> list[tuple[str, int]]:
    """Return each image with the number of its class, in the order of the table.

    Raises:
        DataError: the table or a row of it cannot be read, or images and rows are not one to one.
    """
    labels = _read(table)
    by_id = {PurePosixPath(image).stem: image for image in images}
    if without := labels.keys() - by_id:
        raise DataError(f"expected an image for each row of {table}, found none for id {min(without)}")
    if without := by_id.keys() - labels:
        raise DataError(f"expected a row for each image in {table}, found none for id {min(without)}")
    return [(by_id[number], label) for number, label in labels.items()]


def _read(table: Path) -> dict[str, int]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:  # Excel begins a table with a mark
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {table} as a table in UTF-8: {why(error)}") from error
    header = rows[0] if rows else []
    if [cell.lower() for cell in header] != ["id", "label"]:
        raise DataError(f"expected the header id,label in {table}, got {','.join(header)!r}")
    labels: dict[str, int] = {}
    for row in rows[1:]:
        number, label = row[0], official_name(row[-1])
        if len(row) != 2 or label not in CLASSES or number in labels:
            raise DataError(
                f"expected a new id and a class of CIFAR-10 in each row of {table}, got {','.join(row)!r}"
            )
        labels[number] = CLASSES.index(label)
    return labels
