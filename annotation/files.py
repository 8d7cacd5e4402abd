"""Strict reading of the CSV and JSON files people bring: what is wrong is said with file, row and column."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from annotation.errors import InputError


@dataclass(frozen=True)
class Entry:
    """A row of a CSV file or an object of a JSON file, with the 1-based line of the file it begins on."""

    path: Path
    line: int
    values: dict[str, Any]

    def fail(self, column: str, problem: str) -> NoReturn:
        """Raise the InputError that names file, row and column."""
        raise InputError(f"{self.path}, row {self.line}, column {column}: {problem}")

    def __contains__(self, column: str) -> bool:
        return column in self.values

    def text(self, column: str, *, max_length: int | None = None) -> str:
        """The column's text, neither missing nor blank.

        Raises:
            InputError: it is no such text, is longer than `max_length`, or no database can store it.
        """
        value = self.values.get(column)
        if not isinstance(value, str) or not value.strip():
            self.fail(column, "a text is required here")
        if max_length is not None and len(value) > max_length:
            self.fail(column, f"{len(value)} characters, at most {max_length} fit")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            self.fail(column, "the text holds a character that is not Unicode text")
        return value

    def identifier(self, column: str, *, max_length: int | None = None) -> str:
        """The column's id: a text, or a whole number that a spreadsheet made of one."""
        if type(self.values.get(column)) is int:
            return str(self.values[column])
        return self.text(column, max_length=max_length)

    def entries(self, column: str) -> list["Entry"]:
        """The column's list of objects; each keeps this entry's line."""
        value = self.values.get(column)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fail(column, "a list of objects is required here")
        return [Entry(self.path, self.line, item) for item in value]

    def entry(self, column: str) -> "Entry":
        """The column's object."""
        value = self.values.get(column)
        if not isinstance(value, dict):
            self.fail(column, "an object is required here")
        return Entry(self.path, self.line, value)


def read_text(path: Path) -> str:
    """The file's text, without a byte order mark.

    Raises:
        InputError: it cannot be read, is empty, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if not data.strip():
        raise InputError(f"{path}: the file is empty")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, row {line}: not UTF-8 text: save the file with the encoding UTF-8") from error


def read_csv(path: Path, *required: str) -> list[Entry]:
    """The rows of a CSV file that has at least the required columns.

    Raises:
        InputError: a column is missing or named twice, a row has too few or too many cells, or there is no row.
    """
    header, rows = read_csv_rows(path, *required)
    return [Entry(path, line, dict(zip(header, cells, strict=True))) for line, cells in rows]


def read_csv_rows(path: Path, *required: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header and, read as they are asked for, each row's line and cells: for files of a million rows.

    Raises:
        InputError: as `read_csv`, what is wrong with a row when the row is reached.
    """
    records = _records(path)
    line, header = next(records)
    for column in required:
        if column not in header:
            raise InputError(f"{path}, row {line}: column {column} is missing: it has {', '.join(header)}")
    if len(set(header)) < len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise InputError(f"{path}, row {line}: column {twice} is named twice")
    return header, _rows(path, len(header), records)


def _rows(path: Path, width: int, records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    line = None
    for line, cells in records:
        if len(cells) != width:
            raise InputError(f"{path}, row {line}: {len(cells)} cells where the header names {width} columns")
        yield line, cells
    if line is None:
        raise InputError(f"{path}: there is a header but no row")


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line it begins on; quoted fields may hold line breaks, blank lines are passed over."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}, row {line}: not CSV: {error}") from error
        if cells:
            yield line, cells


def read_json_list(path: Path) -> list[Entry]:
    """The objects of a JSON file that holds a list of objects.

    Raises:
        InputError: it is not JSON, not a list of objects, or the list is empty.
    """
    text = read_text(path)
    place = _after_space(text, 0)
    line = 1 + text.count("\n", 0, place)
    if text[place] != "[":
        raise InputError(f"{path}, row {line}: a JSON list of objects is required")
    entries: list[Entry] = []
    separator = "["
    # Object by object rather than json.loads, so that a mistake in an object is reported with its line.
    while text[place : place + 1] == separator:
        start = _after_space(text, place + 1)
        line += text.count("\n", place, start)
        if not entries and text[start : start + 1] == "]":
            raise InputError(f"{path}, row {line}: the list is empty")
        value, end = _decode_object(path, line, text, start)
        entries.append(Entry(path, line, value))
        place = _after_space(text, end)
        line += text.count("\n", start, place)
        separator = ","
    if text[place : place + 1] != "]" or text[place + 1 :].strip():
        raise InputError(f"{path}, row {line}: not JSON: a list ends with ] and nothing after it")
    return entries


def read_json_lines(path: Path) -> list[Entry]:
    """The objects of a JSONL file, one a line; blank lines are passed over.

    Raises:
        InputError: a line holds anything else.
    """
    entries = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            value, end = _decode_object(path, number, line, _after_space(line, 0))
            if line[end:].strip():
                raise InputError(f"{path}, row {number}: one object a line is required, there is more")
            entries.append(Entry(path, number, value))
    return entries


def _after_space(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _decode_object(path: Path, line: int, text: str, start: int) -> tuple[dict[str, Any], int]:
    """The object that begins at `start`, and where it ends."""
    try:
        value, end = DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        line += text.count("\n", start, error.pos)
        raise InputError(f"{path}, row {line}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise InputError(f"{path}, row {line}: not JSON: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path}, row {line}: nested more deeply than any data are") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}, row {line}: an object is required, in braces")
    return value, end
