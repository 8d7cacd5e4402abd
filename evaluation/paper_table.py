"""Our win rates beside the paper's, seed by seed and together, with McNemar tests and the paper's expectations."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from evaluation.corrections import holm
from evaluation.paper import CITATION, PublishedTable, Rates
from evaluation.statistics import Statistic
from evaluation.tables import grid
from evaluation.win_rates import PairOutcome, pair_outcomes, win_rates

SystemRates = Mapping[str, Mapping[str, Statistic]]


@dataclass(frozen=True, kw_only=True)
class McNemarTest:
    """Prompts that the system won, tied and lost against another on a criterion. `p` is exact and two-sided over wins
    and losses, ties left out; `p_holm` is corrected for all tests of the seed (Holm 1979)."""

    system: str
    other: str
    criterion: str
    wins: int
    ties: int
    losses: int
    p: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the judge's majorities come to: of one seed, or of several together."""

    win_rates: SystemRates
    pairs: Sequence[PairOutcome]
    mcnemar: Sequence[McNemarTest]

    def as_dict(self) -> dict[str, Any]:
        return {
            "win_rates": as_dicts(self.win_rates),
            "pairs": [pair.as_dict() for pair in self.pairs],
            "mcnemar": [asdict(test) for test in self.mcnemar],
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Our table and the paper's. `label` says whose preferences and whose judgement ours are."""

    published: PublishedTable
    criteria: Sequence[str]
    label: str
    seeds: Mapping[int, Outcome]
    together: SystemRates

    def as_dict(self) -> dict[str, Any]:
        pairs = [{"seed": seed, **pair.as_dict()} for seed, found in self.seeds.items() for pair in found.pairs]
        tests = [{"seed": seed, **asdict(test)} for seed, found in self.seeds.items() for test in found.mcnemar]
        return {
            "systems": list(self.together),
            "criteria": list(self.criteria),
            "label": self.label,
            "win_rates": as_dicts(self.together),
            "spread": self.spread(),
            "pairs": pairs,
            "mcnemar": tests,
            "expectations": self.expectations(),
            "paper": self.published.as_dict(),
            "seeds": {str(seed): found.as_dict() for seed, found in self.seeds.items()},
        }

    def spread(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """{system: {criterion: lowest and highest win rate of a seed, and their standard deviation}}"""
        return {
            system: {key: spread_of([found.win_rates[system][key] for found in self.seeds.values()]) for key in rates}
            for system, rates in self.together.items()
        }

    def expectations(self) -> list[dict[str, Any]]:
        """Each statement of the paper's shape, in which seeds it held, and whether it holds over all of them."""
        return [
            {
                "text": str(expected),
                "held": {str(seed): expected.holds(values(found.win_rates)) for seed, found in self.seeds.items()},
                "held_together": expected.holds(values(self.together)),
            }
            for expected in self.published.expectations
        ]

    def text(self) -> str:
        note = (
            "Win rates averaged over opponents. A tie is no win.\n"
            f"paper  {CITATION}\n"
            f"ours   {self.label}; seed {', '.join(map(str, self.seeds))}; in brackets 95 %, bootstrap over prompts"
        )
        if len(self.seeds) == 1:
            return "\n\n".join([self.table(), note, self.tests(), self.statements()])
        note += ";\n       the mean over the seeds, then the lowest and the highest of them"
        by_seed = [self.seed_table(seed) for seed in self.seeds]
        return "\n\n".join([self.table(), note, *by_seed, self.tests(), self.statements()])

    def table(self) -> str:
        missing = [key for key in self.published.criteria if key not in self.criteria]
        head = [f"paper: {key}" for key in self.published.criteria] + [f"ours: {key}" for key in self.criteria]
        spread = self.spread()
        rows = []
        for name in dict.fromkeys([*self.published.win_rates, *self.together]):
            paper = self.published.win_rates.get(name, {})
            theirs = [str(paper[key]) if key in paper else "not there" for key in self.published.criteria]
            ours = [
                cell(self.together[name][key], spread[name][key]) if name in self.together else "not trained"
                for key in self.criteria
            ]
            rows.append([name, *theirs, *ours])
        table = grid(["system", *head], rows)
        return table + "".join(f"\n{key} is not among our criteria: nobody ranked on it" for key in missing)

    def seed_table(self, seed: int) -> str:
        found = self.seeds[seed].win_rates
        rows = [[name, *(cell(rates[key]) for key in self.criteria)] for name, rates in found.items()]
        return grid([f"seed {seed}", *(f"ours: {key}" for key in self.criteria)], rows)

    def tests(self) -> str:
        rows = [
            [
                str(seed),
                f"{test.system} : {test.other}",
                test.criterion,
                *(str(count) for count in (test.wins, test.ties, test.losses)),
                f"{test.p:.2g}",
                f"{test.p_holm:.2g}",
            ]
            for seed, found in self.seeds.items()
            for test in found.mcnemar
        ]
        head = ["seed", "McNemar, exact", "criterion", "won", "tied", "lost", "p", "p Holm"]
        return f"{grid(head, rows)}\np is over won and lost, ties are left out; Holm is over the tests of a seed"

    def statements(self) -> str:
        lines = ["The paper's shape"]
        words = {True: "yes", False: "no", None: "cannot be said"}
        for found in self.expectations():
            held = [answer for answer in found["held"].values() if answer is not None]
            if not held:
                answer = "cannot be said, for not all it names was trained and judged here"
            elif len(self.seeds) == 1:
                answer = words[held[0]]
            else:
                answer = f"in {sum(held)} of {len(held)} seeds; over all seeds: {words[found['held_together']]}"
            lines.append(f"  {found['text']}: {answer}")
        return "\n".join(lines)


def compare(
    frames: Mapping[int, pd.DataFrame], published: PublishedTable, criteria: Sequence[str], label: str
) -> Comparison:
    """The comparison of the seeds' majorities (see `win_rates`), systems named as in the paper.

    Over several seeds a win rate is that over all their prompts. Its interval resamples prompts, each with what all
    seeds made of it: it says how sure the mean of these seeds is. The spread says how much a seed makes.

    Raises:
        ValueError: a frame is no frame of majorities, or there is none.
    """
    together = pd.concat(
        [frame.assign(cluster=frame["prompt"], prompt=f"{seed} " + frame["prompt"]) for seed, frame in frames.items()]
    )
    return Comparison(
        published=published,
        criteria=criteria,
        label=label,
        seeds={seed: outcome(frame, published.focus) for seed, frame in frames.items()},
        together=win_rates(together),
    )


def outcome(frame: pd.DataFrame, focus: str) -> Outcome:
    pairs = pair_outcomes(frame)
    return Outcome(win_rates=win_rates(frame), pairs=pairs, mcnemar=mcnemar_tests(pairs, focus))


def mcnemar_tests(pairs: Sequence[PairOutcome], focus: str) -> list[McNemarTest]:
    """The system against each other one on each criterion, with p corrected over all of these tests."""
    own = [pair for pair in pairs if focus in (pair.system_a, pair.system_b)]
    if not own:
        return []
    ps = [1.0 if pair.mcnemar_p is None else pair.mcnemar_p for pair in own]
    corrected = (p for p in holm(ps) if p is not None)
    return [_test(pair, focus, p, p_holm) for pair, p, p_holm in zip(own, ps, corrected, strict=True)]


def _test(pair: PairOutcome, focus: str, p: float, p_holm: float) -> McNemarTest:
    is_first = pair.system_a == focus
    won, lost = (pair.wins, pair.losses) if is_first else (pair.losses, pair.wins)
    counts = [round((share.value or 0.0) * share.n) for share in (won, pair.ties, lost)]
    return McNemarTest(
        system=focus,
        other=pair.system_b if is_first else pair.system_a,
        criterion=pair.criterion,
        wins=counts[0],
        ties=counts[1],
        losses=counts[2],
        p=p,
        p_holm=p_holm,
    )


def spread_of(found: Sequence[Statistic]) -> dict[str, float | None]:
    numbers = [statistic.value for statistic in found if statistic.value is not None]
    return {
        "lowest": min(numbers, default=None),
        "highest": max(numbers, default=None),
        "deviation": statistics.stdev(numbers) if len(numbers) > 1 else None,
    }


def cell(statistic: Statistic, spread: Mapping[str, float | None] | None = None) -> str:
    """The value in percent, its interval and, of several seeds, the lowest and highest."""
    if statistic.value is None:
        return str(statistic)
    text = f"{statistic.value:.1%}"
    if statistic.low is not None and statistic.high is not None:
        text += f" [{100 * statistic.low:.0f}, {100 * statistic.high:.0f}]"
    if spread and spread["deviation"] is not None:
        text += ", {:.0f} to {:.0f}".format(*(100 * (spread[end] or 0.0) for end in ("lowest", "highest")))
    return text


def values(rates: SystemRates) -> Rates:
    return {name: {key: rate.value for key, rate in row.items()} for name, row in rates.items()}


def as_dicts(rates: SystemRates) -> dict[str, dict[str, Any]]:
    return {name: {key: rate.as_dict() for key, rate in row.items()} for name, row in rates.items()}
