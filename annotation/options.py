"""Options that are written name=value, once a name."""

import math
from collections.abc import Sequence

from annotation.errors import InputError


def keyed(option: str, items: Sequence[str], form: str) -> dict[str, str]:
    """{name: text} of items such as `form`, for instance criterion=file.

    Raises:
        InputError: an item is malformed, or a name comes twice.
    """
    values: dict[str, str] = {}
    for item in items:
        name, _, text = item.partition("=")
        if not (name and text):
            raise InputError(f"{option} {item}: write it as {form}")
        if name in values:
            raise InputError(f"{option} {item}: {name} has a {form.partition('=')[2]} already")
        values[name] = text
    return values


def keyed_numbers(option: str, items: Sequence[str], form: str = "name=number") -> dict[str, float]:
    """{name: number} of items such as `form`. A name may hold an equals sign, as a path can.

    Raises:
        InputError: an item is malformed, its number is not finite, or its name comes twice.
    """
    numbers: dict[str, float] = {}
    for item in items:
        name, _, text = item.rpartition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (name and math.isfinite(number)):
            raise InputError(f"{option} {item}: write it as {form}, such as {name or 'name'}=0.5")
        if name in numbers:
            raise InputError(f"{option} {item}: {name} has a {form.partition('=')[2]} already")
        numbers[name] = number
    return numbers
