"""Preference data sets: submitted rankings, aggregated, written to files with all that tells where they come from."""

import hashlib
import json
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotation.errors import InputError, StudyError
from annotation.models import ConsentRecord, Criterion, Prompt, RankedResponse, Ranking, Response, Study
from annotation.models.ranking import RankingQuerySet
from training.aggregation import symmetric_weights, weighted_voting
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

AGGREGATION = "weighted_voting"
PAIRINGS: dict[str, Callable[[AggregateRanking], list[PreferencePair]]] = {
    "best-worst": best_worst_pair,
    "all": all_pairs,
}
FORMATS = ("trl", "authors-pairs", "authors-rankings")
MANIFEST, PROVENANCE = "manifest.json", "provenance.jsonl"
# Prompts read at a time: few queries, and never more than their texts in memory.
BATCH = 200

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
    rater_kind: str | None

    def __post_init__(self) -> None:
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


@dataclass(frozen=True)
class Ballot:
    """A rater's ranking: the responses' ids, best first."""

    ranking: int
    rater: int
    order: tuple[int, ...]
    complete: bool


@dataclass
class Tally:
    """What went into the files and what was left out."""

    prompts: int = 0
    rankings: int = 0
    records: Counter[str] = field(default_factory=Counter)
    ties: int = 0
    invalid_rankings: int = 0
    rankings_of: Counter[int] = field(default_factory=Counter)


def export_preferences(
    study: Study,
    criterion: Criterion,
    *,
    output: Path,
    split: str = "train",
    pairs: str = "best-worst",
    file_format: str = "trl",
    eval_fraction: float = 0.0,
    rater_kind: str | None = None,
    progress: Callable[[list[list[tuple[int, str]]]], Batches] = iter,
) -> PreferenceDataset:
    """The data set of the submitted rankings of one split on one criterion, written to the folder `output`.

    Rankings of the same responses to a prompt become one order by weighted voting. Raters who withdrew are left out.
    With an `eval_fraction`, that share of the prompts goes to a file of its own, named with `eval_` in front.
    The same data exported again give the same row.

    Raises:
        InputError: a choice is unknown, or the folder holds something else.
        StudyError: there is no ranking to export.
    """
    choices = ExportChoices(
        study=study.slug,
        criterion=criterion.key,
        split=split,
        format=file_format,
        pairs=None if file_format == "authors-rankings" else pairs,
        eval_fraction=eval_fraction,
        rater_kind=rater_kind,
    )
    output = output.resolve()
    if output.exists() and not _is_free(output) and not (output / MANIFEST).is_file():
        raise InputError(f"{output}: the folder holds other files: name a new one")
    rankings = _rankings(criterion, rater_kind)
    prompts = list(
        Prompt.objects.filter(study=study, split=split, pk__in=rankings.values("task__prompt_id"))
        .order_by("pk")
        .values_list("pk", "key")
    )
    if not prompts:
        raise StudyError(f"study {study.slug} has no submitted ranking on {criterion.key} among its {split} prompts")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        folder = Path(temporary) / "dataset"
        folder.mkdir()
        batches = [prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH)]
        tally = _write_data(folder, choices, rankings, progress(batches), _held_out(prompts, eval_fraction))
        content_hash = _write_manifest(folder, choices, study, criterion, tally)
        return _keep(folder, output, choices, criterion, tally, content_hash)


def _rankings(criterion: Criterion, rater_kind: str | None) -> RankingQuerySet:
    rankings = Ranking.objects.submitted().filter(criterion=criterion, task__rater__withdrawn_at__isnull=True)
    return rankings.filter(task__rater__kind=rater_kind) if rater_kind else rankings


def _held_out(prompts: Sequence[tuple[int, str]], fraction: float) -> set[str]:
    """Keys of the prompts to hold out: those whose hash comes first, so that a prompt stays where it is
    as others join."""
    if not fraction:
        return set()
    ordered = sorted((key for _, key in prompts), key=lambda key: hashlib.sha256(key.encode()).digest())
    return set(ordered[: max(1, round(len(ordered) * fraction))])


def _write_data(
    folder: Path, choices: ExportChoices, rankings: RankingQuerySet, batches: Batches, held_out: set[str]
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
            for ranking, ballots in _aggregate(batch, rankings, tally):
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


def _aggregate(
    batch: list[tuple[int, str]], rankings: RankingQuerySet, tally: Tally
) -> Iterator[tuple[AggregateRanking, list[Ballot]]]:
    """The order of each set of responses that was ranked, and the ballots that made it."""
    prompt_ids = [pk for pk, _ in batch]
    texts = dict(Prompt.objects.filter(pk__in=prompt_ids).values_list("pk", "text"))
    keys = dict(batch)
    responses = {
        pk: (key, text)
        for pk, key, text in Response.objects.filter(prompt__in=prompt_ids).values_list("pk", "key", "text")
    }
    for prompt_id, ballots in groupby(_ballots(prompt_ids, rankings), key=itemgetter(0)):
        same_responses: dict[tuple[int, ...], list[Ballot]] = defaultdict(list)
        for _, ballot in ballots:
            if ballot.complete:
                same_responses[tuple(sorted(ballot.order))].append(ballot)
            else:
                tally.invalid_rankings += 1
        tally.prompts += bool(same_responses)
        for numbered, counted in sorted(same_responses.items()):
            tally.rankings += len(counted)
            tally.rankings_of.update(ballot.rater for ballot in counted)
            order, scores = _vote(numbered, counted)
            yield (
                AggregateRanking(
                    prompt_id=keys[prompt_id],
                    prompt=texts[prompt_id],
                    response_ids=tuple(responses[pk][0] for pk in order),
                    responses=tuple(responses[pk][1] for pk in order),
                    scores=scores,
                ),
                counted,
            )


def _vote(numbered: tuple[int, ...], ballots: list[Ballot]) -> tuple[list[int], tuple[float, ...]]:
    """Ids of the responses best to worst, and their scores; the earlier response stands first in a tie."""
    numbers = {pk: number for number, pk in enumerate(numbered, start=1)}
    result = weighted_voting(
        ([numbers[pk] for pk in ballot.order] for ballot in ballots), symmetric_weights(len(numbered))
    )
    return [numbered[number - 1] for number in result.order], tuple(result.scores[n] for n in result.order)


def _ballots(prompt_ids: list[int], rankings: RankingQuerySet) -> Iterator[tuple[int, Ballot]]:
    """(prompt, ballot) in the order of prompts and rankings, streamed from one query."""
    rows = (
        RankedResponse.objects.filter(ranking__in=rankings.filter(task__prompt__in=prompt_ids).values("pk"))
        .order_by("ranking__task__prompt_id", "ranking_id", "rank")
        .values_list("ranking__task__prompt_id", "ranking_id", "ranking__task__rater_id", "response_id", "rank", "size")
    )
    for (prompt, ranking, rater), group in groupby(rows.iterator(chunk_size=5000), key=itemgetter(0, 1, 2)):
        ranked = list(group)
        # Ranks are unique within 1..size by constraint, so the last one tells whether any is missing.
        complete = len(ranked) > 1 and ranked[-1][4] == len(ranked) == ranked[0][5]
        yield prompt, Ballot(ranking, rater, tuple(row[3] for row in ranked), complete)


def _write_manifest(folder: Path, choices: ExportChoices, study: Study, criterion: Criterion, tally: Tally) -> str:
    """The content hash, after manifest.json is written."""
    files = {
        path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size, "records": tally.records[path.name]}
        for path in sorted(folder.iterdir())
    }
    files[PROVENANCE]["records"] = sum(1 for _ in (folder / PROVENANCE).open(encoding="utf-8"))
    hashed = json.dumps([asdict(choices), {name: file["sha256"] for name, file in files.items()}], sort_keys=True)
    content_hash = hashlib.sha256(hashed.encode()).hexdigest()
    by_kind = _rankings_by_kind(study, tally)
    simulated = sum(count for kind, count in by_kind.items() if kind.startswith("simulated"))
    manifest = {
        **asdict(choices),
        "aggregation": AGGREGATION,
        "simulated": simulated > 0,
        "label": _label(simulated, tally.rankings),
        "content_hash": content_hash,
        "exported_at": timezone.now().isoformat(),
        "files": files,
        "counts": {
            "prompts": tally.prompts,
            "rankings": tally.rankings,
            "rankings_by": by_kind,
            "raters": len(tally.rankings_of),
            "pairs": _pairs(choices, tally),
        },
        "dropped": {"pairs_tied_or_alike": tally.ties, "incomplete_rankings": tally.invalid_rankings},
        "exclusions": {
            "raters_withdrawn": study.raters.filter(withdrawn_at__isnull=False).count(),
            "rankings_not_submitted": criterion.rankings.filter(submitted_at__isnull=True).count(),
        },
        "consent_versions": _consents(study, set(tally.rankings_of)),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return content_hash


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pairs(choices: ExportChoices, tally: Tally) -> int:
    return 0 if choices.pairs is None else tally.records.total()


def _rankings_by_kind(study: Study, tally: Tally) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for pk, kind, simulated in study.raters.values_list("pk", "kind", "simulated"):
        counts[f"simulated {kind}" if simulated else kind] += tally.rankings_of[pk]
    return {kind: count for kind, count in counts.items() if count}


def _label(simulated: int, rankings: int) -> str:
    if not simulated:
        return "No ranking in this data set is by a simulated participant."
    return f"{simulated} of {rankings} rankings are by simulated participants: no person stands behind them."


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
    folder: Path, output: Path, choices: ExportChoices, criterion: Criterion, tally: Tally, content_hash: str
) -> PreferenceDataset:
    """The row of the data set, after its folder has moved into place."""
    is_there = (output / MANIFEST).is_file()
    if is_there and json.loads((output / MANIFEST).read_text(encoding="utf-8")).get("content_hash") != content_hash:
        raise InputError(f"{output}: the folder holds another data set, which is never overwritten: name a new one")
    path = str(output.relative_to(settings.VAR_DIR) if output.is_relative_to(settings.VAR_DIR) else output)
    with transaction.atomic():
        dataset, created = PreferenceDataset.objects.get_or_create(
            content_hash=content_hash,
            defaults={
                "study": criterion.study,
                "criterion": criterion,
                "filters": asdict(choices),
                "aggregation": AGGREGATION,
                "path": path,
                "pairs": _pairs(choices, tally),
                "rankings": tally.rankings,
            },
        )
        if created:
            dataset.raters.add(*tally.rankings_of)
            criterion.study.auditevent_set.create(
                action="dataset.export", subject=f"data set {content_hash[:8]}", new=asdict(choices)
            )
        elif not (dataset.folder / MANIFEST).is_file():
            PreferenceDataset.objects.filter(pk=dataset.pk).update(path=path)
            dataset.path = path
        if not is_there:
            folder.replace(output)
    return dataset
