"""Search of a reward model's settings by optuna's TPE, selected by accuracy on prompts held out from training."""

import dataclasses
import fcntl
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from annotation.errors import InputError, StudyError
from training.pairs import PreferencePair
from training.recipes import RewardRecipe
from training.reward_model import train_reward_model
from training.sources import hold_out

Space = Mapping[str, BaseDistribution]

# Of `paper` the paper's own; of `cpu` what a small encoder can use in minutes a trial.
SPACES: Mapping[str, Space] = {
    "cpu": {
        "learning_rate": FloatDistribution(3e-5, 3e-4, log=True),
        "weight_decay": FloatDistribution(0.0, 0.1),
        "dropout": FloatDistribution(0.0, 0.2),
        "batch_size": CategoricalDistribution((8, 16)),
        "epochs": IntDistribution(1, 3),
    },
    "paper": {
        "learning_rate": FloatDistribution(5e-7, 2e-5, log=True),
        "weight_decay": FloatDistribution(0.01, 0.15),
        "dropout": FloatDistribution(0.1, 0.4),
        "batch_size": CategoricalDistribution((8, 16)),
        "max_length": CategoricalDistribution((256, 512)),
        "epochs": IntDistribution(3, 7),
    },
}
SELECTION_SHARE = 0.2
# What a trial can fail of through its settings, its data or the machine. Anything else is a mistake in the code.
TRIAL_ERRORS = (StudyError, RuntimeError, ValueError, OSError, MemoryError, ArithmeticError)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched: the settings in `space`, of a model that learns from `pairs`; all others are the recipe's."""

    source: str
    pairs: Sequence[PreferencePair]
    recipe: RewardRecipe
    space: Space

    @property
    def key(self) -> str:
        """What is the same for the same search, however many trials it has."""
        parts = [
            [dataclasses.astuple(pair) for pair in self.pairs],
            dataclasses.asdict(self.recipe),
            {name: str(distribution) for name, distribution in self.space.items()},
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def settled(self, settings: Mapping[str, Any]) -> RewardRecipe:
        return dataclasses.replace(self.recipe, **settings)


def search_space(recipe: str, given: Collection[str]) -> Space:
    """The recipe's space without the settings that the user has given."""
    return {name: distribution for name, distribution in SPACES[recipe].items() if name not in given}


def search_recipe(
    search: Search, *, trials: int, storage: Path, scratch: Path, say: Callable[[str], None]
) -> tuple[RewardRecipe, dict[str, Any]]:
    """The recipe of the best trial, and the search as JSON values: space, trials, the number of the best.

    Trials are kept in a database in the folder `storage`. Stopped, the same search goes on after those that were
    finished, with the settings that it would have drawn anyway.

    Raises:
        InputError: nothing is left to search, the pairs are of too few prompts, or the search is at work elsewhere.
        StudyError: all trials failed.
    """
    if not search.space:
        raise InputError("--search: every setting that could be searched is given: leave one of them out")
    train, selection = hold_out(search.pairs, share=SELECTION_SHARE, seed=search.recipe.seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.mkdir(parents=True, exist_ok=True)
    with _alone(storage / f"{search.key}.lock"):
        study = optuna.create_study(
            storage=f"sqlite:///{storage / search.key}.db",
            study_name=search.key,
            direction="maximize",
            load_if_exists=True,
        )
        for number in range(len(_finished(study)), trials):
            # A sampler a trial, so that what it draws does not depend on whether the search was stopped before it.
            study.sampler = TPESampler(seed=10_000 * search.recipe.seed + number)
            say(f"search: trial {number + 1} of {trials}")
            _run_trial(study, search, train, selection, scratch)
        finished = _finished(study)
    return _best(search, finished), {
        "space": {name: str(distribution) for name, distribution in search.space.items()},
        "selected_on": "accuracy on pairs of prompts held out from training",
        "selection_pairs": len(selection),
        "best": max(range(len(finished)), key=lambda number: _value(finished[number])),
        "trials": [_record(number, trial) for number, trial in enumerate(finished)],
    }


def _run_trial(
    study: optuna.Study,
    search: Search,
    train: Sequence[PreferencePair],
    selection: Sequence[PreferencePair],
    scratch: Path,
) -> None:
    trial: Trial = study.ask(dict(search.space))
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            metrics = train_reward_model(search.source, train, selection, search.settled(trial.params), Path(folder))
    except TRIAL_ERRORS as error:
        trial.set_user_attr("error", (str(error).strip().splitlines() or [type(error).__name__])[0])
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_user_attr("accuracy", metrics.accuracy)
    trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
    study.tell(trial, metrics.accuracy["value"])


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials with a result or an error, in their order. One that was stopped midway has neither, and does not count."""
    return [
        trial for trial in study.trials if {"accuracy", "error"} & set(trial.user_attrs) and trial.state.is_finished()
    ]


def _value(trial: FrozenTrial) -> float:
    return -1.0 if trial.value is None else trial.value


def _best(search: Search, finished: Sequence[FrozenTrial]) -> RewardRecipe:
    best = max(finished, key=_value)
    if best.value is None:
        raise StudyError(
            f"all {len(finished)} trials of the search failed, the last: {finished[-1].user_attrs['error']}"
        )
    return search.settled(best.params)


def _record(number: int, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": number,
        "settings": trial.params,
        "accuracy": trial.user_attrs.get("accuracy"),
        "seconds": trial.user_attrs.get("seconds"),
        "error": trial.user_attrs.get("error"),
    }


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep a second process from taking the trials of this one for stopped."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError("--search: another process is at the same search: let it finish, or stop it") from error
        yield
