"""A CSV file that names images: columns ``path``, ``label`` and, if wanted, ``split``."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TextIO

from resnets.data.listing import (
    BY_HASH,
    NAMED_SPLITS,
    Listed,
    assemble,
    class_name,
    split_by_hash,
    told,
)
from resnets.data.sources import SPLITS, Dataset
from resnets.errors import DataError, did_you_mean

SAVE_AS_UTF8 = "save the table as UTF-8 (in Excel: CSV UTF-8)"


def open_table(table: Path, *, whole: str | None = None) -> Dataset:
    """The data set of a CSV file in UTF-8; nothing is decoded.

    Paths are absolute or relative to the table's folder. Without a column ``split`` the images
    are split by a hash of the paths as written, or are ``whole`` where they are to be scored.
    Raises ``DataError`` with the line number.
    """
    table = Path(os.path.abspath(table))
    with _opened(table) as file:
        rows = _rows(file, table)
        header = [name.strip().lower() for name in next(rows, (0, []))[1]]
        columns = {name: _column(table, header, name) for name in ("path", "label")}
        if "split" in header:
            columns["split"] = header.index("split")
        listed: dict[str, list[Listed]] = {part: [] for part in SPLITS}
        lines: dict[str, int] = {}
        for line, row in rows:
            part, image = _image(table, line, row, columns)
            if (first := lines.setdefault(image.path, line)) != line:
                raise DataError(
                    f"{table}, line {line}: {image.path} is listed in line {first} already",
                    fix="keep one of the two lines",
                )
            listed[part].append(image)
    _check_files(table, lines)
    if whole and "split" not in columns:
        listed = {whole: listed["train"]}
    if not listed.get("train") and not whole:
        raise DataError(
            f"{table} lists no image{' in the split train' * ('split' in columns)}",
            fix="add lines such as: images/0001.jpg,cat" + ",train" * ("split" in columns),
        )
    if whole or "split" in columns:
        return assemble(table.parent, listed, source=table, notes=[], to_score=whole is not None)
    parts = split_by_hash(listed["train"])
    return assemble(table.parent, parts, source=table, notes=[BY_HASH], split_by_hash=True)


def _opened(table: Path) -> TextIO:
    try:
        return table.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as cause:
        raise DataError(
            f"{table} cannot be read: {cause.strerror}", fix="give yourself the right to read it"
        ) from cause


def _rows(file: TextIO, table: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its last line."""
    reader = csv.reader(file, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as cause:
        raise DataError(
            f"{table}, line {reader.line_num}: {cause}", fix="mend that line's quotes and commas"
        ) from cause


def _column(table: Path, header: list[str], name: str) -> int:
    if name in header:
        return header.index(name)
    hint = did_you_mean(name, header)
    if not all(_is_text(cell) for cell in header):
        hint = SAVE_AS_UTF8 + "; "
    elif len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        hint = "separate the columns with commas; "
    raise DataError(
        f"{table}, line 1: no column {name!r} among {told(map(repr, header))}",
        fix=f"{hint}the first line reads: path,label or path,label,split",
    )


def _image(table: Path, line: int, row: list[str], columns: dict[str, int]) -> tuple[str, Listed]:
    """The split and the image that a row names."""
    try:
        cells = {name: row[column].strip() for name, column in columns.items()}
    except IndexError:
        cells = {}
    if not (cells.get("path") and cells.get("label")):
        raise DataError(
            f"{table}, line {line}: a path or a label is missing in {','.join(row)!r}",
            fix="fill in that line, or remove it",
        )
    if not _is_text(cells["label"]):
        raise DataError(
            f"{table}, line {line}: the label {cells['label']!r} is not UTF-8 text",
            fix=SAVE_AS_UTF8,
        )
    split = cells.get("split", "train")
    if (part := NAMED_SPLITS.get(split.lower())) is None:
        raise DataError(
            f"{table}, line {line}: unknown split {split!r}",
            fix=f"{did_you_mean(split.lower(), NAMED_SPLITS)}write train, val or test",
        )
    return part, Listed(PurePath(cells["path"]).as_posix(), class_name(cells["label"]))


def _is_text(cell: str) -> bool:
    """Whether a cell was UTF-8: other bytes became lone surrogates, UTF-16 leaves zeros."""
    return "\0" not in cell and not any("\ud800" <= letter <= "\udfff" for letter in cell)


def _check_files(table: Path, lines: dict[str, int]) -> None:
    """Raise ``DataError`` that names the first files that are not there."""
    missing = [path for path in lines if not os.path.isfile(table.parent / path)]
    if missing:
        first = told(f"{path} (line {lines[path]})" for path in missing[:5])
        slash = "write folders with /, not \\; " if os.sep == "/" and "\\" in missing[0] else ""
        raise DataError(
            f"{table}: {len(missing):,} of {len(lines):,} files are not there: {first}",
            fix=f"{slash}paths start from {table.parent}, or are absolute",
        )
