"""What the paper published, as data, and the shape of its results as statements that can be held against ours.

Figures are those of "Multi-Objective Alignment of Language Models for Personalized Psychotherapy", arXiv 2602.16053.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

CITATION = (
    "Multi-Objective Alignment of Language Models for Personalized Psychotherapy, arXiv 2602.16053 (2026): "
    "Mistral-7B-Instruct-v0.2, 600 test prompts, 50 simulated patients (an LLM) as judges"
)

Rates = Mapping[str, Mapping[str, float | None]]
"""{system: {criterion: win rate}}, None where undefined."""


@dataclass(frozen=True)
class Published:
    """A win rate between 0 and 1, averaged over opponents; `about` where the paper gives it in a drawing only."""

    value: float
    about: bool = False

    def __str__(self) -> str:
        return f"{'about ' if self.about else ''}{self.value:.1%}"


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Part of the paper's shape: the system's win rate on the criterion is above those of others, of all by default."""

    system: str
    criterion: str
    above: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.above:
            return f"{self.system} is highest on {self.criterion}"
        *first, last = self.above
        others = f"{', '.join(first)} and {last}" if first else last
        return f"{self.system} is above {others} on {self.criterion}"

    def holds(self, rates: Rates) -> bool | None:
        """Whether each comparison comes out so; None where one of the systems or win rates is missing."""
        others = self.above or tuple(name for name in rates if name != self.system)
        found = [rates.get(name, {}).get(self.criterion) for name in (self.system, *others)]
        values = [value for value in found if value is not None]
        if len(values) < len(found) or len(values) < 2:
            return None
        return values[0] > max(values[1:])


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A table of the paper. `focus` is the system it tests against the others, by McNemar."""

    criteria: tuple[str, ...]
    win_rates: Mapping[str, Mapping[str, Published]]
    focus: str
    expectations: tuple[Expectation, ...]

    def as_dict(self) -> dict[str, Any]:
        rates = {name: {key: asdict(rate) for key, rate in row.items()} for name, row in self.win_rates.items()}
        return {"citation": CITATION, "criteria": list(self.criteria), "win_rates": rates}


def _row(criteria: tuple[str, str], first: float, second: float, *, about: bool = False) -> dict[str, Published]:
    return dict(zip(criteria, (Published(first, about), Published(second, about)), strict=True))


_METHODS = ("empathy", "safety")
_CRITERIA = ("overall_preference", "safety")

PHASE_1 = PublishedTable(
    criteria=_METHODS,
    win_rates={
        "Base": _row(_METHODS, 0.115, 0.396),
        "GPT-4o": _row(_METHODS, 0.23, 0.335, about=True),
        "SFT-empathy": _row(_METHODS, 0.209, 0.448),
        "DPO-empathy": _row(_METHODS, 0.936, 0.478),
        "DPO-soup": _row(_METHODS, 0.525, 0.584),
        "joint-loss DPO": _row(_METHODS, 0.708, 0.627),
        "MODPO": _row(_METHODS, 0.776, 0.626),
    },
    focus="MODPO",
    expectations=(
        Expectation(system="DPO-empathy", criterion="empathy"),
        Expectation(system="MODPO", criterion="safety", above=("DPO-empathy",)),
        Expectation(system="MODPO", criterion="empathy", above=("Base", "SFT-empathy", "DPO-soup")),
    ),
)
PHASE_2 = PublishedTable(
    criteria=_CRITERIA,
    win_rates={
        "Base": _row(_CRITERIA, 0.011, 0.468),
        "MODPO-Maxim": _row(_CRITERIA, 0.569, 0.516),
        "MODPO-Survey4": _row(_CRITERIA, 0.671, 0.491),
        "MODPO-Survey": _row(_CRITERIA, 0.741, 0.523),
    },
    focus="MODPO-Survey",
    expectations=(
        Expectation(system="MODPO-Survey", criterion="overall_preference"),
        Expectation(system="MODPO-Survey", criterion="safety"),
    ),
)
