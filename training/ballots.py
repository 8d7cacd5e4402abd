"""Submitted rankings, read as a stream and aggregated into one order for each set of responses."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from annotation.models import Prompt, RankedResponse, Response
from training.aggregation import VotingResult
from training.pairs import AggregateRanking
from training.selection import Selection

Aggregation = Callable[[Iterable[Any], int], VotingResult]


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
    orders: int = 0
    records: Counter[str] = field(default_factory=Counter)
    ties: int = 0
    invalid_rankings: int = 0
    rankings_of: Counter[int] = field(default_factory=Counter)


def aggregate(
    batch: list[tuple[int, str]], selection: Selection, tally: Tally, aggregation: Aggregation
) -> Iterator[tuple[AggregateRanking, list[Ballot]]]:
    """The order of each set of responses that was ranked, and the ballots that made it."""
    prompt_ids = [pk for pk, _ in batch]
    texts = dict(Prompt.objects.filter(pk__in=prompt_ids).values_list("pk", "text"))
    keys = dict(batch)
    responses = {
        pk: (key, text)
        for pk, key, text in Response.objects.filter(prompt__in=prompt_ids).values_list("pk", "key", "text")
    }
    for prompt_id, ballots in groupby(_ballots(prompt_ids, selection), key=itemgetter(0)):
        same_responses: dict[tuple[int, ...], list[Ballot]] = defaultdict(list)
        for _, ballot in ballots:
            if ballot.complete:
                same_responses[tuple(sorted(ballot.order))].append(ballot)
            else:
                tally.invalid_rankings += 1
        tally.prompts += bool(same_responses)
        for numbered, counted in sorted(same_responses.items()):
            tally.orders += 1
            tally.rankings += len(counted)
            tally.rankings_of.update(ballot.rater for ballot in counted)
            order, scores = _vote(numbered, counted, aggregation)
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


def _vote(
    numbered: tuple[int, ...], ballots: list[Ballot], aggregation: Aggregation
) -> tuple[list[int], tuple[float, ...]]:
    """Ids of the responses best to worst, and their scores; the earlier response stands first in a tie."""
    numbers = {pk: number for number, pk in enumerate(numbered, start=1)}
    result = aggregation(([numbers[pk] for pk in ballot.order] for ballot in ballots), len(numbered))
    return [numbered[number - 1] for number in result.order], tuple(result.scores[n] for n in result.order)


def _ballots(prompt_ids: list[int], selection: Selection) -> Iterator[tuple[int, Ballot]]:
    """(prompt, ballot) in the order of prompts and rankings, streamed from one query."""
    rankings = selection.rankings.filter(task__prompt__in=prompt_ids)
    rows = (
        RankedResponse.objects.filter(ranking__in=rankings.values("pk"))
        .order_by("ranking__task__prompt_id", "ranking_id", "rank")
        .values_list("ranking__task__prompt_id", "ranking_id", "ranking__task__rater_id", "response_id", "rank", "size")
    )
    for (prompt, ranking, rater), group in groupby(rows.iterator(chunk_size=5000), key=itemgetter(0, 1, 2)):
        if ranking in selection.left_out:
            continue
        ranked = list(group)
        # Ranks are unique within 1..size by constraint, so the last one tells whether any is missing.
        complete = len(ranked) > 1 and ranked[-1][4] == len(ranked) == ranked[0][5]
        yield prompt, Ballot(ranking, rater, tuple(row[3] for row in ranked), complete)
