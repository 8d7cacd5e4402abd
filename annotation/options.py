"""Options of commands: names of no more than a length, and those that are written name=value, once a name."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug

from annotation.errors import InputError


def at_most(limit: int) -> Callable[[str], str]:
    """An argparse type: text of no more characters than its column takes."""

    def check(text: str) -> str:
        if len(text) > limit:
            raise ArgumentTypeError(f"{len(text)} characters, at most {limit} fit")
        return text

    return check


def slug(limit: int = 50) -> Callable[[str], str]:
    """An argparse type: a slug of no more characters than its column takes."""

    def check(text: str) -> str:
        try:
            validate_slug(text)
        except ValidationError as error:
            raise ArgumentTypeError(f"{text!r} may hold only letters, digits, - and _") from error
        return at_most(limit)(text)

    return check


def port(text: str) -> int:
    """An argparse type: a port of this machine."""
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise ArgumentTypeError(f"{text} is no port: it must be from 1 to 65535")
    return int(text)


def run_name(text: str) -> str:
    """An argparse type: a name that a run's folder can have too."""
    if "/" in text or text.startswith(".") or not text.isprintable():
        raise ArgumentTypeError(f"{text!r} names a folder too: without / and no . in front")
    return at_most(100)(text)


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
