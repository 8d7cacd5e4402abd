"""People to turn to, by country, from fixtures/crisis_resources.toml. Needs no database, so that it always comes up."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

RESOURCES = Path(__file__).resolve().parent.parent / "fixtures" / "crisis_resources.toml"


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    phone: str
    text: str
    url: str
    hours: str
    note: str

    @property
    def dial(self) -> str:
        """The number as a tel: link takes it."""
        return re.sub(r"[^\d+]", "", self.phone)


@dataclass(frozen=True, kw_only=True)
class Country:
    code: str
    name: str
    emergency: str
    lines: tuple[Line, ...]


@cache
def countries() -> tuple[Country, ...]:
    """Every country of the file by name, and the international entry last."""
    data = tomllib.loads(RESOURCES.read_text(encoding="utf-8"))
    entries = [
        Country(
            code=entry["code"],
            name=entry["name"],
            emergency=entry["emergency"],
            lines=tuple(Line(**line) for line in entry["lines"]),
        )
        for entry in data["countries"]
    ]
    return tuple(sorted(entries, key=lambda country: (country.code == "ZZ", country.name)))


def country(code: str) -> Country | None:
    return next((entry for entry in countries() if entry.code == code.upper()), None)


def anywhere() -> Country:
    """The directories that serve every country."""
    return countries()[-1]
