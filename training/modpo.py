"""MODPO as data: weights, the other criteria's rewards, and the shift they put on the reference log-probabilities.

(beta / w_k)(h_w - h_l) - m / w_k = (beta / w_k)((h_w - h_l) - m / beta), so MODPO is DPO with beta / w_k once
w_-k . r(x, y) / beta is added to each response's reference log-probability (Zhou et al. 2024, arXiv:2310.03708).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotation.errors import InputError
from annotation.files import read_json_lines
from annotation.options import keyed_numbers
from training.pairs import PreferencePair

# Rewards of one text read twice differ by less.
FLAT = 1e-5

RewardKey = tuple[str, str, str]
"""(prompt id, response id, criterion)"""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What each criterion counts. DPO is all weight on the primary one."""

    primary: str
    values: Mapping[str, float]

    def __post_init__(self) -> None:
        for criterion, weight in self.values.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise InputError(f"--weight {criterion}={weight}: a weight must be 0 or greater")
        total = sum(self.values.values())
        if abs(total - 1) > 1e-6:
            raise InputError(f"the weights sum to {total:g}: they must sum to 1")
        if not self.values.get(self.primary, 0) > 0:
            raise InputError(f"--primary {self.primary}: give it a --weight greater than 0")

    @property
    def primary_weight(self) -> float:
        return self.values[self.primary]

    @property
    def others(self) -> dict[str, float]:
        """The criteria that make the margin."""
        return {name: weight for name, weight in self.values.items() if name != self.primary and weight > 0}

    def require_known(self, known: Collection[str], where: str) -> None:
        for criterion in {self.primary, *self.values}:
            if criterion not in known:
                raise InputError(f"criterion {criterion}: {where} has {', '.join(sorted(known)) or 'none'}")


def only(criterion: str) -> Weights:
    """All weight on one criterion."""
    return Weights(primary=criterion, values={criterion: 1.0})


def parse_weights(primary: str | None, items: Sequence[str]) -> Weights:
    """Weights from `criterion=number` items; the first criterion is the primary one unless another is named.

    Raises:
        InputError: an item is malformed or comes twice, or the weights break a rule.
    """
    values = keyed_numbers("--weight", items, "criterion=number")
    return Weights(primary=primary or next(iter(values)), values=values)


@dataclass(frozen=True)
class Shift:
    """w_-k . r(x, y) / beta for the two responses of a pair, in nats."""

    chosen: float = 0.0
    rejected: float = 0.0

    def margin(self, beta: float) -> float:
        """m of the MODPO loss."""
        return beta * (self.chosen - self.rejected)


def shifts(
    pairs: Sequence[PreferencePair],
    weights: Weights,
    rewards: Mapping[RewardKey, float],
    *,
    beta: float,
    refuse_flat: bool = True,
) -> list[Shift]:
    """A shift a pair, in order. Held-out pairs may do without a margin (`refuse_flat` False), they teach nothing.

    Raises:
        InputError: a reward is missing or no number, or no pair has a margin though other criteria have weight:
            training would then silently be DPO with another beta.
    """
    if not weights.others:
        return [Shift()] * len(pairs)
    result = [
        Shift(
            _weighted(pair.prompt_id, pair.chosen_id, weights, rewards) / beta,
            _weighted(pair.prompt_id, pair.rejected_id, weights, rewards) / beta,
        )
        for pair in pairs
    ]
    if refuse_flat and not any(abs(shift.margin(beta)) > FLAT for shift in result):
        names = ", ".join(weights.others)
        raise InputError(f"no pair has a margin: {names} scores chosen and rejected alike, so MODPO would be plain DPO")
    return result


def _weighted(prompt_id: str, response_id: str, weights: Weights, rewards: Mapping[RewardKey, float]) -> float:
    total = 0.0
    for criterion, weight in weights.others.items():
        reward = rewards.get((prompt_id, response_id, criterion))
        if reward is None:
            raise InputError(
                f"response {response_id} of prompt {prompt_id} has no {criterion} reward: add it, or score it"
            )
        if not math.isfinite(reward):
            raise InputError(f"the {criterion} reward of response {response_id} of prompt {prompt_id} is {reward}")
        total += weight * reward
    return total


def read_rewards(path: Path) -> dict[RewardKey, float]:
    """Rewards of a JSONL file with prompt_id, response_id, criterion and reward on each line.

    Raises:
        InputError: the file cannot be read, or a line is malformed, no finite number, or contradicts an earlier one.
    """
    rewards: dict[RewardKey, float] = {}
    for entry in read_json_lines(path):
        key = (entry.identifier("prompt_id"), entry.identifier("response_id"), entry.text("criterion"))
        reward = entry.values.get("reward")
        if not isinstance(reward, int | float) or not math.isfinite(reward):
            entry.fail("reward", f"{reward!r} is no finite number")
        if rewards.setdefault(key, reward) != reward:
            entry.fail("reward", f"an earlier line gives this response another {key[2]} reward")
    return rewards
