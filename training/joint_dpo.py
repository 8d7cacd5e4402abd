"""Joint-loss DPO: one sigmoid over the weighted sum of the criteria, each with a pair of its own on the same prompt."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from annotation.errors import InputError
from training.losses import joint_dpo_loss
from training.modpo import Shift
from training.pairs import PreferencePair
from training.policy import Metrics, Trainer, Workplace, in_training_order, trainer_arguments
from training.preference import build_dpo_trainer, held_out_preference, pair_dataset, response_logps
from training.recipes import PolicyRecipe

Bundle = Sequence[PreferencePair]
"""A pair a criterion, in the order of the weights, all of one prompt."""


class JointDPOTrainer(DPOTrainer):
    """TRL's data and reference columns under the joint loss. Rows come in bundles: a prompt's pairs together."""

    # Needed only once training starts: set after DPOTrainer has built itself.
    joint_weights: Sequence[float] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: dict[str, list[float]] = defaultdict(list)
        super().__init__(*args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        policy = response_logps(model, inputs)
        reference = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
        chosen, rejected, ref_chosen, ref_rejected = (self._by_criterion(logps) for logps in (*policy, *reference))
        loss = joint_dpo_loss(
            chosen, rejected, ref_chosen, ref_rejected, beta=self.beta, weights=self.joint_weights
        ).mean()
        rewards = self.beta * ((policy[0] - reference[0]) - (policy[1] - reference[1])).detach()
        gathered = self.accelerator.gather(rewards)
        prefix = "" if model.training else "eval_"
        self.seen[f"{prefix}rewards/margins"].append(gathered.mean().item())
        self.seen[f"{prefix}rewards/accuracies"].append((gathered > 0).float().mean().item())
        return (loss, None) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the implicit reward beta h of the pairs since the last entry: its mean difference, and how many it
        orders rightly, over all criteria alike."""
        logs |= {name: sum(values) / len(values) for name, values in self.seen.items()}
        self.seen.clear()
        super().log(logs, start_time)

    def _by_criterion(self, logps: Tensor) -> list[Tensor]:
        """(bundles * criteria,) -> a tensor (bundles,) a criterion."""
        return list(logps.view(-1, len(self.joint_weights)).unbind(dim=1))


@dataclass(frozen=True, kw_only=True)
class JointTask:
    """What a policy learns from by the joint loss: bundles of pairs, one a criterion."""

    label = "joint-loss DPO"

    source: str
    recipe: PolicyRecipe
    weights: Mapping[str, float]
    bundles: Sequence[Bundle]
    held_out: Sequence[Bundle]
    # Pairs that found no partner on each other criterion.
    dropped: int = 0

    def build(self, place: Workplace) -> tuple[Trainer, Metrics]:
        criteria = len(self.weights)
        settings = trainer_arguments(
            self.recipe, place, pairs=len(self.bundles), held_out=len(self.held_out), rows_each=criteria
        )
        settings["beta"] = self.recipe.beta
        data = tuple(
            pair_dataset(rows, [Shift()] * len(rows), place.scratch / name)
            for name, rows in (("train", flat(self.bundles)), ("held_out", flat(self.held_out)))
        )
        trainer, metrics = build_dpo_trainer(JointDPOTrainer, self.source, self.recipe, settings, data, place.cache)
        if metrics["train_pairs"] < len(self.bundles) * criteria:
            raise InputError(f"a prompt fills --max-length {self.recipe.max_length} alone: raise it")
        trainer.joint_weights = list(self.weights.values())
        lengths = trainer.train_dataset["length"]
        longest = [max(lengths[start : start + criteria]) for start in range(0, len(lengths), criteria)]
        trainer.train_dataset = in_training_order(
            trainer.train_dataset,
            longest,
            self.recipe,
            rows_each=criteria,
            weights=[fmean(pair.weight for pair in bundle) for bundle in self.bundles],
        )
        metrics["dropped_pairs"] = self.dropped
        return trainer, metrics

    def measure(self, trainer: Trainer, curves: dict[str, list[list[float]]]) -> Metrics:
        return held_out_preference(trainer, self.recipe.beta)


def bundles(pairs: Mapping[str, Sequence[PreferencePair]]) -> list[Bundle]:
    """The pairs of each prompt that has one on every criterion, a pair a criterion, in the order of the criteria.

    Where a prompt has several pairs on each criterion, the first goes with the first, and so on.

    Raises:
        InputError: no prompt has a pair on every criterion.
    """
    by_prompt: list[dict[str, list[PreferencePair]]] = []
    for of_criterion in pairs.values():
        grouped: dict[str, list[PreferencePair]] = {}
        for pair in of_criterion:
            grouped.setdefault(pair.prompt_id, []).append(pair)
        by_prompt.append(grouped)
    shared = [prompt for prompt in by_prompt[0] if all(prompt in grouped for grouped in by_prompt)]
    if not shared:
        raise InputError(f"no prompt has a pair on each of {', '.join(pairs)}: the joint loss needs one on all of them")
    return [bundle for prompt in shared for bundle in zip(*(grouped[prompt] for grouped in by_prompt), strict=False)]


def flat(bundled: Sequence[Bundle]) -> list[PreferencePair]:
    return [pair for bundle in bundled for pair in bundle]
