"""Where a training run gets its preference pairs: exported from a study's rankings, or read from a file."""

import argparse
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from annotation.errors import InputError, StudyError
from annotation.models import Criterion, Split, Study
from annotation.options import run_name
from training.datasets import export_preferences
from training.manifest import read_manifest, require_unchanged
from training.models import PreferenceDataset
from training.pairs import PreferencePair, read_pairs


@dataclass(frozen=True, kw_only=True)
class PairSource:
    """Pairs, and what a run records of where they came from: data sets of a study, or files."""

    pairs: list[PreferencePair]
    criterion: Criterion | None = None
    datasets: tuple[PreferenceDataset, ...] = ()
    files: tuple[Path, ...] = ()


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--study", help="slug of the study whose rankings make the pairs")
    source.add_argument("--pairs", type=Path, metavar="FILE", help="TRL JSONL or the authors' {criterion}_pairs.json")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the artefacts (default: runs/NAME)")
    parser.add_argument(
        "--name", type=run_name, default="", help="name of the run (default: made of what it is and the time)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def pairs_of_study(study: Study, key: str, *, split: str, pairs: str) -> PairSource:
    """Pairs of the study's rankings on a criterion, exported as a data set that the run can name.

    Raises:
        StudyError: the study has no such criterion, no rankings on it in the split, or no pair comes of them.
    """
    criterion = study.criterion(key)
    name = f"{study.slug}-{key}-{split}-{pairs}-{timezone.now():%Y%m%d-%H%M%S-%f}"
    output = Path(settings.VAR_DIR).resolve() / "datasets" / name
    dataset = export_preferences(study, criterion, output=output, split=split, pairs=pairs)
    if dataset.folder != output:
        # The same data were exported before: one copy is enough.
        shutil.rmtree(output)
    result = read_pairs(dataset.folder / "pairs.jsonl")
    if not result:
        raise StudyError(f"the rankings on {key} among the {split} prompts of {study.slug} make no pair")
    return PairSource(pairs=result, criterion=criterion, datasets=(dataset,))


def pairs_of_file(path: Path, criterion: str | None = None) -> PairSource:
    """Pairs of a file. One that this site exported names its data set, so that a run can be traced to the rankings.

    Args:
        criterion: what is to be learned from the pairs.

    Raises:
        InputError: the file is wrong, holds no pair, is of an exported data set that has changed since, or of one of
            another criterion.
    """
    require_unchanged(path.parent)
    pairs = read_pairs(path)
    if not pairs:
        raise InputError(f"{path}: there are no pairs in it")
    manifest = read_manifest(path.parent) or {"content_hash": ""}
    exported = manifest.get("choices", {}).get("criterion")
    if criterion and exported and exported != criterion:
        raise InputError(f"{path}: the data set was exported of {exported}, not of {criterion}")
    datasets = PreferenceDataset.objects.filter(content_hash=manifest["content_hash"])
    return PairSource(pairs=pairs, datasets=tuple(datasets), files=(path,))


def hold_out(
    pairs: Sequence[PreferencePair], *, share: float, seed: int
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Pairs to train on and pairs of a share of the prompts, at least one, to test on. No prompt is in both.

    A pair across prompts of which one is held out is in neither.

    Raises:
        InputError: all pairs are of one prompt, or no pair is left to train or to test on.
    """
    prompts = hold_out_prompts([key for pair in pairs for key in pair.prompt_ids], share=share, seed=seed)
    held_out = [pair for pair in pairs if prompts.issuperset(pair.prompt_ids)]
    train = [pair for pair in pairs if prompts.isdisjoint(pair.prompt_ids)]
    if not (held_out and train):
        raise InputError(
            f"of {len(pairs)} pairs across prompts, none is left to {'test' if train else 'train'} on once prompts are "
            "held out: give more pairs, or pairs of other prompts by --eval-pairs"
        )
    return train, held_out


def hold_out_prompts(prompt_ids: Sequence[str], *, share: float, seed: int) -> set[str]:
    """A share of the prompts, at least one, to test on.

    Raises:
        InputError: there is one prompt only.
    """
    prompts = sorted(set(prompt_ids))
    if len(prompts) < 2:
        raise InputError(f"the pairs are of {len(prompts)} prompt: two are needed at least, to train on and to test on")
    random.Random(seed).shuffle(prompts)  # noqa: S311 - a reproducible split, no secret
    return set(prompts[: max(1, round(share * len(prompts)))])


def require_apart(pairs: Sequence[PreferencePair], held_out: Sequence[PreferencePair], where: str) -> None:
    """Raise InputError if a prompt, by its id or its text, is to be trained on and tested on."""
    trained = {key for pair in pairs for key in _prompts_of(pair)}
    if shared := next((pair for pair in held_out if trained & _prompts_of(pair)), None):
        raise InputError(
            f"{where}: prompt {shared.prompt_id} is trained on too, which would flatter the accuracy: "
            "part the files by prompt"
        )


def _prompts_of(pair: PreferencePair) -> set[tuple[str, str]]:
    ids = {("id", key) for key in pair.prompt_ids}
    return ids | {("text", prompt) for prompt, _ in pair.texts if prompt}


def split_of(sources: Iterable[PairSource], otherwise: str) -> str:
    """The split whose prompts the pairs are of, where exported data sets say so.

    Raises:
        InputError: they are of several.
    """
    splits = {dataset.filters.get("split") for source in sources for dataset in source.datasets} - {None}
    if len(splits) > 1:
        raise InputError(f"the pairs are of {' and '.join(sorted(splits))} prompts: learn from one of the two")
    return splits.pop() if splits else otherwise


def split_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split", choices=[Split.TRAIN, Split.SCORER], default=Split.TRAIN, help="prompts to learn from"
    )
