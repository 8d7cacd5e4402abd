"""Which columns of a file hold what: any layout of labels, described by options instead of a script."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

REFUSE, FIRST = "refuse", "first"


@dataclass(frozen=True)
class Condition:
    """COLUMN=VALUE, COLUMN!=VALUE, or COLUMN^=START of the value."""

    column: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Raises ValueError where the text is no condition."""
        found = re.fullmatch(r"(.+?)(\^=|!=|=)(.*)", text, re.DOTALL)
        if found is None:
            raise ValueError(f"--where {text}: write it as COLUMN=VALUE, COLUMN!=VALUE or COLUMN^=START")
        return cls(*(part.strip() for part in found.groups()))

    def __str__(self) -> str:
        return f"{self.column}{self.operator}{self.value}"

    def holds(self, cell: str) -> bool:
        if self.operator == "^=":
            return cell.startswith(self.value)
        return (cell == self.value) == (self.operator == "=")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The layout of a file; by default the long form, with a label a row.

    Attributes:
        item: columns that name what was labelled, together.
        criterion: the column of the criterion; None takes the column `criterion` where there is one, and else holds
            every label to be of one criterion.
        raters: columns that each hold one rater's labels, in place of `rater` and `label`.
        judges: raters who are judges; beside `raters`, the columns that hold their labels.
        criteria: columns that each hold the labels on one criterion, in place of `criterion` and `label`.
        systems: the columns of the two systems compared. Labels then name one of the two, and are turned to A / tie / B
            in alphabetical order of the systems, which become part of the item.
        recode: {label of the file: label it stands for}
        dropped: labels that are no answer.
        only_judges: every rater of the file is a judge.
    """

    item: tuple[str, ...] = ("item",)
    rater: str = "rater"
    criterion: str | None = "criterion"
    label: str = "label"
    raters: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    stratum: str | None = None
    where: tuple[Condition, ...] = ()
    recode: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    duplicates: str = REFUSE
    only_judges: bool = False

    def __post_init__(self) -> None:
        if self.raters and self.criteria:
            raise ValueError(
                "--raters and --criteria: a column holds the labels of a rater or of a criterion, not both"
            )
        if self.systems and len(self.systems) != 2:
            raise ValueError("--systems names two columns, one for each side")
        for name in ("item", "raters", "judges", "criteria", "systems"):
            columns = getattr(self, name)
            if "" in columns or len(set(columns)) < len(columns):
                raise ValueError(f"--{name} {','.join(columns)} names a column twice or an empty one")

    @property
    def wide(self) -> tuple[str, ...]:
        """The columns that hold labels, where they are more than one a row."""
        return self.criteria or (tuple(dict.fromkeys((*self.raters, *self.judges))) if self.raters else ())

    @property
    def naming(self) -> tuple[str, ...]:
        """The columns that say what a label is of."""
        single = [
            None if self.raters else self.rater,
            None if self.criteria else self.criterion,
            self.stratum,
        ]
        return tuple(dict.fromkeys((*self.item, *(column for column in single if column), *self.systems)))

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which the file cannot be read."""
        conditions = (condition.column for condition in self.where)
        return tuple(dict.fromkeys((*self.naming, *(self.wide or [self.label]), *conditions)))


# Of the options that describe a file, those that the judges' file may have of its own, named --judge-...
OWN_OF_JUDGES = ("item", "rater", "raters", "criterion", "label", "where")
OPTIONS = (*OWN_OF_JUDGES, "judges", "criteria", "systems", "map", "drop_label")


def shape_of(options: Mapping[str, Any]) -> Shape:
    """The shape that a command's options describe; those left out (None or empty) keep the long form's columns.

    Raises:
        ValueError: they contradict each other or are malformed; the message names the option.
    """
    names: dict[str, Any] = {
        **{name: columns(options[name]) for name in ("item", "raters", "judges", "criteria", "systems")},
        **{name: options[name] for name in ("rater", "criterion", "label", "stratum")},
    }
    given = {name: value for name, value in names.items() if value}
    if "label" in given and given.keys() & {"raters", "criteria"}:
        raise ValueError("--label goes with neither --raters nor --criteria, whose columns hold the labels")
    if given.keys() & {"item", "rater", "raters", "label"}:
        given.setdefault("criterion", None)
    return Shape(
        **given,
        where=tuple(Condition.parse(text) for text in options["where"] or ()),
        recode=recoding(options["map"] or ()),
        dropped=frozenset(options["drop_label"] or ()),
        duplicates=options["duplicates"],
    )


def judges_shape_of(options: Mapping[str, Any]) -> Shape:
    """The shape of the judges' file: that of the other file, but for what the options --judge-... say.

    Raises:
        ValueError: as `shape_of`.
    """
    own = {name: options[f"judge_{name}"] for name in OWN_OF_JUDGES}
    of_people = {"judges": None, "stratum": None, "where": None}
    if own["rater"] or own["label"]:
        of_people |= {"raters": None, "criteria": None}
    if own["raters"]:
        of_people |= {"label": None}
    given = {name: value for name, value in own.items() if value}
    return replace(shape_of({**options, **of_people, **given}), only_judges=True)


def columns(text: str | None) -> tuple[str, ...]:
    return tuple(column.strip() for column in text.split(",")) if text else ()


def recoding(items: Sequence[str]) -> dict[str, str]:
    """{label: label it stands for} of items FROM=TO.

    Raises:
        ValueError: an item is malformed, or recodes a label a second time.
    """
    recode: dict[str, str] = {}
    for item in items:
        before, sign, after = item.rpartition("=")
        if not (sign and after.strip()):
            raise ValueError(f"--map {item}: write it as LABEL=LABEL, such as 1=A")
        if before.strip() in recode:
            raise ValueError(f"--map {item}: {before.strip()!r} is recoded twice")
        recode[before.strip()] = after.strip()
    return recode
