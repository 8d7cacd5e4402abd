"""Preference data sets: submitted rankings, aggregated, written to files with all that tells where they come from."""

import hashlib
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotation.errors import InputError, StudyError
from annotation.models import ConsentRecord, Criterion, RaterKind, Study
from training.aggregation import AGGREGATIONS
from training.ballots import Tally, aggregate
from training.manifest import (
    MANIFEST,
    PROVENANCE,
    WEIGHTS,
    content_hash,
    describe_files,
    read_manifest,
    require_unchanged,
    write_manifest,
)
from training.models import PreferenceDataset
from training.pairs import (
    AggregateRanking,
    PreferencePair,
    all_pairs,
    authors_pair,
    authors_ranking,
    best_worst_pair,
    record_writer,
    trl_pair,
)
from training.selection import Selection, select

PAIRINGS: dict[str, Callable[[AggregateRanking], list[PreferencePair]]] = {
    "best-worst": best_worst_pair,
    "all": all_pairs,
}
FORMATS = ("trl", "authors-pairs", "authors-rankings")
# Prompts read at a time: few queries, and never more than their texts in memory.
BATCH = 200

# Before the kind of a rater no person stands behind.
SIMULATED = "simulated "

Batches = Iterable[list[tuple[int, str]]]


@dataclass(frozen=True, kw_only=True)
class ExportChoices:
    """Every choice of an export; with the files' content they make its hash."""

    study: str
    criterion: str
    split: str
    format: str
    pairs: str | None
    eval_fraction: float
    aggregation: str
    source: str
    exclude: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise InputError(f"aggregation {self.aggregation!r} is unknown: it is one of {', '.join(AGGREGATIONS)}")
        if self.format not in FORMATS:
            raise InputError(f"format {self.format!r} is unknown: it is one of {', '.join(FORMATS)}")
        if self.pairs not in PAIRINGS and self.pairs is not None:
            raise InputError(f"pairs {self.pairs!r} is unknown: it is one of {', '.join(PAIRINGS)}")
        if not 0 <= self.eval_fraction < 1:
            raise InputError(f"the share of prompts held out is {self.eval_fraction}: it must be 0 or more and below 1")

    @property
    def data_file(self) -> str:
        names = {
            "trl": "pairs.jsonl",
            "authors-pairs": f"{self.criterion}_pairs.json",
            "authors-rankings": f"{self.criterion}_rankings.json",
        }
        return names[self.format]

    def possible_pairs(self, ranking: AggregateRanking) -> int:
        """How many pairs a ranking without ties makes."""
        return {"best-worst": 1, "all": math.comb(len(ranking.responses), 2)}[self.pairs] if self.pairs else 0

    def records(self, ranking: AggregateRanking) -> list[dict[str, Any]]:
        """What the data file holds of a ranking: its pairs, or itself."""
        if self.pairs is None:
            return [authors_ranking(ranking)]
        write = trl_pair if self.format == "trl" else authors_pair
        return [write(pair) for pair in PAIRINGS[self.pairs](ranking)]


def export_preferences(
    study: Study,
    criterion: Criterion,
    *,
    output: Path,
    split: str = "train",
    pairs: str = "best-worst",
    file_format: str = "trl",
    eval_fraction: float = 0.0,
    aggregation: str = "weighted_voting",
    source: str = "both",
    exclude: Sequence[str] = (),
    progress: Callable[[list[list[tuple[int, str]]]], Batches] = iter,
) -> PreferenceDataset:
    """The data set of the submitted rankings of one split on one criterion, written to the folder `output`.

    Rankings of the same responses to a prompt become one order by the aggregation. Raters who withdrew are left out,
    and what `exclude` declares (`training.selection.RULES`). With an `eval_fraction`, that share of the prompts goes
    to a file of its own, named with `eval_` in front. The same data exported again give the same row.

    Raises:
        InputError: a choice is unknown, the folder holds something else, or the files of this data set were changed.
        StudyError: there is no ranking to export.
    """
    choices = ExportChoices(
        study=study.slug,
        criterion=criterion.key,
        split=split,
        format=file_format,
        pairs=None if file_format == "authors-rankings" else pairs,
        eval_fraction=eval_fraction,
        aggregation=aggregation,
        source=source,
        exclude=tuple(sorted(set(exclude))),
    )
    selection = select(criterion, split=split, source=source, exclude=choices.exclude)
    output = output.resolve()
    if output.exists() and not _is_free(output) and read_manifest(output) is None:
        raise InputError(f"{output}: the folder holds other files: name a new one")
    prompts = selection.prompts()
    if not prompts:
        raise _nothing_left(selection)
    held_out = _held_out(prompts, eval_fraction)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        folder = Path(temporary) / "dataset"
        folder.mkdir()
        batches = [prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH)]
        tally = _write_data(folder, choices, selection, progress(batches), held_out)
        sealed = _describe(folder, choices, selection, tally)
        return _keep(folder, output, choices, criterion, tally, sealed)


def _nothing_left(selection: Selection) -> StudyError:
    criterion = selection.criterion
    asked = "".join(f", exclude {rule}" for rule in selection.excluded)
    return StudyError(
        f"study {criterion.study.slug} has no submitted ranking on {criterion.key} among its {selection.split} prompts "
        f"(source {selection.source}{asked})"
    )


def _held_out(prompts: Sequence[tuple[int, str]], fraction: float) -> set[str]:
    """Keys of the prompts to hold out: those whose hash comes first, so that a prompt stays where it is
    as others join."""
    if not fraction:
        return set()
    ordered = sorted((key for _, key in prompts), key=lambda key: hashlib.sha256(key.encode()).digest())
    held_out = set(ordered[: max(1, round(len(ordered) * fraction))])
    if len(held_out) == len(ordered):
        raise StudyError(f"holding out {fraction:g} of {len(ordered)} prompts leaves none to train on: hold out less")
    return held_out


def _write_data(
    folder: Path, choices: ExportChoices, selection: Selection, batches: Batches, held_out: set[str]
) -> Tally:
    tally = Tally()
    name = choices.data_file
    as_list = name.endswith(".json")
    with ExitStack() as files:
        write = {False: files.enter_context(record_writer(folder / name, as_list=as_list))}
        if held_out:
            write[True] = files.enter_context(record_writer(folder / f"eval_{name}", as_list=as_list))
        trace = files.enter_context(record_writer(folder / PROVENANCE, as_list=False))
        for batch in batches:
            for ranking, ballots in aggregate(batch, selection, tally, AGGREGATIONS[choices.aggregation]):
                is_held_out = ranking.prompt_id in held_out
                records = choices.records(ranking)
                for record in records:
                    write[is_held_out](record)
                tally.records[f"eval_{name}" if is_held_out else name] += len(records)
                tally.ties += max(0, choices.possible_pairs(ranking) - len(records))
                trace(
                    {
                        "prompt_id": ranking.prompt_id,
                        "file": f"eval_{name}" if is_held_out else name,
                        "order": ranking.response_ids,
                        "scores": ranking.scores,
                        "rankings": [ballot.ranking for ballot in ballots],
                    }
                )
    return tally


def _describe(folder: Path, choices: ExportChoices, selection: Selection, tally: Tally) -> str:
    """The content hash, after manifest.json and the card are written."""
    files = describe_files(folder)
    for name, file in files.items():
        file["records"] = tally.orders if name == PROVENANCE else tally.records[name]
    sealed = content_hash(asdict(choices), files)
    study = selection.criterion.study
    by_kind = _rankings_by_kind(study, tally)
    label = _label(by_kind, tally.rankings)
    manifest = {
        "content_hash": sealed,
        "label": label,
        "simulated": any(kind.startswith(SIMULATED) for kind in by_kind),
        "choices": asdict(choices),
        "exported_at": timezone.now().isoformat(),
        "files": files,
        "counts": {
            "prompts": tally.prompts,
            "rankings": tally.rankings,
            "rankings_by": by_kind,
            "raters": len(tally.rankings_of),
            "pairs": _pairs(choices, tally),
        },
        "weights": WEIGHTS if choices.format == "trl" else None,
        "dropped": {"pairs_tied_or_alike": tally.ties, "incomplete_rankings": tally.invalid_rankings},
        "exclusions": selection.exclusions(),
        "consent_versions": _consents(study, set(tally.rankings_of)),
    }
    write_manifest(folder, manifest)
    return sealed


def _pairs(choices: ExportChoices, tally: Tally) -> int:
    return 0 if choices.pairs is None else tally.records.total()


def _rankings_by_kind(study: Study, tally: Tally) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for pk, kind, simulated in study.raters.values_list("pk", "kind", "simulated"):
        counts[SIMULATED + kind if simulated else kind] += tally.rankings_of[pk]
    return {kind: count for kind, count in counts.items() if count}


def _label(by_kind: dict[str, int], rankings: int) -> str:
    simulated = sum(count for kind, count in by_kind.items() if kind.startswith(SIMULATED))
    judged = by_kind.get(RaterKind.JUDGE, 0)
    told = [f"{simulated} of {rankings} rankings are by simulated raters: no person stands behind them."] * bool(
        simulated
    )
    told += [f"{judged} of {rankings} rankings are by judges: models, alone or playing a persona."] * bool(judged)
    return " ".join(told) or "Every ranking in this data set is by a person."


def _consents(study: Study, raters: set[int]) -> list[dict[str, Any]]:
    """Each consent text that the raters agreed to, by version and hash, and how many did."""
    rows = ConsentRecord.objects.filter(document__study=study, agreed=True).values_list(
        "participant_id", "document__version", "document_sha256"
    )
    agreed = Counter((version, sha256) for rater, version, sha256 in rows.iterator() if rater in raters)
    return [{"version": version, "sha256": sha, "raters": count} for (version, sha), count in sorted(agreed.items())]


def _is_free(output: Path) -> bool:
    return output.is_dir() and not any(output.iterdir())


def _keep(
    folder: Path, output: Path, choices: ExportChoices, criterion: Criterion, tally: Tally, sealed: str
) -> PreferenceDataset:
    """The row of the data set, after its folder has moved into place."""
    standing = read_manifest(output)
    if standing and standing["content_hash"] != sealed:
        raise InputError(f"{output}: the folder holds another data set, which is never overwritten: name a new one")
    if standing:
        require_unchanged(output, sealed)
    path = str(output.relative_to(settings.VAR_DIR) if output.is_relative_to(settings.VAR_DIR) else output)
    with transaction.atomic():
        dataset, created = PreferenceDataset.objects.get_or_create(
            content_hash=sealed,
            defaults={
                "study": criterion.study,
                "criterion": criterion,
                "filters": asdict(choices),
                "aggregation": choices.aggregation,
                "path": path,
                "pairs": _pairs(choices, tally),
                "rankings": tally.rankings,
            },
        )
        if created:
            dataset.raters.add(*tally.rankings_of)
            criterion.study.auditevent_set.create(
                action="dataset.export", subject=f"data set {sealed[:8]}", new=asdict(choices)
            )
        elif (dataset.folder / MANIFEST).is_file():
            require_unchanged(dataset.folder, sealed)
        else:
            PreferenceDataset.objects.filter(pk=dataset.pk).update(path=path)
            dataset.path = path
        if not standing:
            folder.replace(output)
    return dataset
