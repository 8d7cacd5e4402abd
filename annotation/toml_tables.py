"""TOML documents read strictly: what is wrong is said with file, entry and key."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug

from annotation.errors import InputError
from annotation.files import read_text

T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """A TOML table, and the words that tell where it stands: file and entry."""

    where: str
    values: dict[str, Any]

    def fail(self, problem: str) -> NoReturn:
        raise InputError(f"{self.where}: {problem}")

    def only(self, *allowed: str) -> None:
        unknown = sorted(set(self.values) - set(allowed))
        if unknown:
            self.fail(f"unknown key {unknown[0]!r}: it takes {', '.join(sorted(allowed))}")

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of that key and type; the default if the key is missing and there is one."""
        value = self.values.get(key, default)
        if value is None:
            self.fail(f"{key} is missing")
        # To Python a bool is an int; to a study it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(f"{key} must be of type {kind.__name__}")
        return value

    def text(self, key: str, *, max_length: int | None = None, default: str | None = None) -> str:
        text = self.take(key, str, default).strip()
        if not text and default is None:
            self.fail(f"{key} is empty")
        if max_length is not None and len(text) > max_length:
            self.fail(f"{key} has {len(text)} characters, at most {max_length} fit")
        return text

    def slug(self, key: str) -> str:
        slug = self.text(key, max_length=50)
        try:
            validate_slug(slug)
        except ValidationError:
            self.fail(f"{key} {slug!r} may hold only letters, digits, - and _")
        return slug

    def tables(self, key: str, named_by: str | None = None) -> list["Table"]:
        """The tables of a list, each named by one of its keys in messages, or by its number."""
        rows = self.take(key, list)
        if not rows or not all(isinstance(row, dict) for row in rows):
            self.fail(f"{key} must be tables, at least one")
        return [
            Table(f"{self.where}, {key.removesuffix('s')} {row.get(named_by or '', number)}", row)
            for number, row in enumerate(rows, start=1)
        ]

    def table(self, key: str, default: dict[str, Any] | None = None) -> "Table":
        return Table(f"{self.where}, [{key}]", self.take(key, dict, default))


def read_table(path: Path) -> Table:
    return parse_table(read_text(path), where=str(path))


def parse_table(text: str, *, where: str) -> Table:
    """The TOML document as a table that `where` names in messages.

    Raises:
        InputError: it is not TOML.
    """
    try:
        return Table(where, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not TOML: {error}") from error
