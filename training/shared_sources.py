"""Where a shared encoder gets its pairs: a source a criterion, parted by prompt for all criteria at once."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from annotation.errors import InputError
from annotation.options import keyed
from training.models import PreferenceDataset
from training.pairs import PreferencePair
from training.sources import PairSource, hold_out, pairs_of_file, require_apart

PairsByCriterion = Mapping[str, Sequence[PreferencePair]]
Parts = tuple[PairsByCriterion, PairsByCriterion]


@dataclass(frozen=True, kw_only=True)
class SharedSources:
    """A source for each criterion, and the sources to test on where those are given apart."""

    train: Mapping[str, PairSource]
    test: Mapping[str, PairSource] = field(default_factory=dict)

    @property
    def datasets(self) -> list[PreferenceDataset]:
        return [dataset for source in self._all for dataset in source.datasets]

    @property
    def files(self) -> list[Path]:
        return [file for source in self._all for file in source.files]

    @property
    def _all(self) -> list[PairSource]:
        return [*self.train.values(), *self.test.values()]

    def split(self, *, share: float, seed: int) -> Parts:
        """Pairs to train on and pairs to test on. No prompt of any criterion is in both.

        Raises:
            InputError: the prompts cannot be parted, or those to test on are trained on.
        """
        pairs = {criterion: source.pairs for criterion, source in self.train.items()}
        if not self.test:
            return hold_out_shared(pairs, share=share, seed=seed)
        for criterion, source in self.test.items():
            require_apart(_flat(pairs), source.pairs, f"--eval-pairs {criterion}={source.files[0]}")
        return pairs, {criterion: source.pairs for criterion, source in self.test.items()}


def shared_sources(
    criteria: Sequence[str],
    pairs: Sequence[str] | None,
    eval_pairs: Sequence[str],
    of_study: Callable[[str], PairSource],
) -> SharedSources:
    """The sources of these criteria: of files by `criterion=file` items, else of a study.

    Raises:
        InputError: fewer than two criteria are named or one twice, or the files are not theirs.
    """
    if len(set(criteria)) < max(2, len(criteria)):
        raise InputError("--shared-encoder takes two criteria or more: give each a --criterion, once")
    keys = sorted(criteria)
    return SharedSources(
        train={key: of_study(key) for key in keys} if pairs is None else _of_files("--pairs", pairs, keys),
        test=_of_files("--eval-pairs", eval_pairs, keys) if eval_pairs else {},
    )


def _of_files(option: str, items: Sequence[str], criteria: Collection[str]) -> dict[str, PairSource]:
    files = keyed(option, items, "criterion=file")
    if files.keys() != set(criteria):
        raise InputError(f"{option}: give one file for each of {', '.join(criteria)}, as criterion=file, and no other")
    return {criterion: pairs_of_file(Path(files[criterion]), criterion) for criterion in criteria}


def hold_out_shared(pairs_by_criterion: PairsByCriterion, *, share: float, seed: int) -> Parts:
    """Pairs to train on and to test on, a share of the prompts held out of all criteria alike: the encoder is one.

    Raises:
        InputError: no pair is left on one of the sides.
    """
    train, held_out = map(set, hold_out(_flat(pairs_by_criterion), share=share, seed=seed))
    return (
        {criterion: [pair for pair in pairs if pair in train] for criterion, pairs in pairs_by_criterion.items()},
        {criterion: [pair for pair in pairs if pair in held_out] for criterion, pairs in pairs_by_criterion.items()},
    )


def _flat(pairs_by_criterion: PairsByCriterion) -> list[PreferencePair]:
    return [pair for pairs in pairs_by_criterion.values() for pair in pairs]
