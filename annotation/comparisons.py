"""Making the comparisons of two systems and giving them to raters."""

from collections.abc import Collection, Hashable, Iterable, Sequence

import numpy as np
from django.db import transaction

from annotation.assignment import (
    BoolArray,
    IntArray,
    draw_orders,
    draw_overlap,
    draw_sequences,
    draw_session,
    place_repeats,
    redraw_orders,
)
from annotation.errors import InputError
from annotation.models import Assignment, Comparison, Rater, Response, Split, Study, System


def system_named(study: Study, name: str) -> System:
    """The study's system of that name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    system = study.systems.filter(name=name).first()
    if system is None:
        known = ", ".join(study.systems.values_list("name", flat=True)) or "none yet"
        raise InputError(f"study {study.slug} has no system {name!r} (it has: {known})")
    return system


def create_comparisons(
    study: Study,
    first: System,
    second: System,
    *,
    split: Split = Split.TEST,
    prompts: Collection[int] | None = None,
) -> list[Comparison]:
    """The comparisons of the two systems' first responses, one a prompt of the split, made where there was none.

    `prompts` are the ids of those to take, by default all that both answered. `response_a` is of the system with the
    lower id, whichever is named first.

    Raises:
        InputError: it is the same system, a system of another study, or no prompt has a response of both.
    """
    if first == second:
        raise InputError(f"system {first} cannot be compared with itself: name two systems")
    for system in (first, second):
        if system.study_id != study.pk:
            raise InputError(f"system {system} does not belong to study {study.slug}")
    study.require_unlocked()
    system_a, system_b = sorted((first, second), key=lambda system: system.pk)
    responses_a, responses_b = (
        dict(
            Response.objects.filter(prompt__study=study, prompt__split=split, system=system, number=1).values_list(
                "prompt", "pk"
            )
        )
        for system in (system_a, system_b)
    )
    shared = sorted(responses_a.keys() & responses_b.keys())
    if not shared:
        raise InputError(
            f"study {study.slug} has no {split} prompt answered by both {system_a} ({len(responses_a)} answered) and "
            f"{system_b} ({len(responses_b)} answered): generate or import their responses first"
        )
    wanted = [prompt for prompt in shared if prompts is None or prompt in prompts]
    pairs = [Comparison(study=study, response_a_id=responses_a[p], response_b_id=responses_b[p]) for p in wanted]
    Comparison.objects.bulk_create(pairs, ignore_conflicts=True)
    made = Comparison.objects.filter(
        response_a__in=[responses_a[p] for p in wanted], response_b__in=[responses_b[p] for p in wanted]
    )
    return list(made.order_by("response_a__prompt"))


def assign_comparisons(
    study: Study,
    comparisons: Sequence[Comparison],
    raters: Sequence[Rater],
    *,
    per_item: int | None,
    seed: int,
    practice: Sequence[Comparison] = (),
    repeats: int = 0,
) -> int:
    """Give each comparison to all raters, or to `per_item` of them; the number of assignments made.

    What was given out before stays as it is and counts, so a second call only fills up: for a rater who came later,
    or comparisons made later. Each call's orders are balanced within raters and within comparisons, for each pair of
    systems by itself, and a later call draws apart from the earlier ones. A rater meets one comparison of every prompt
    before any prompt's second.

    A rater's first batch begins with the comparisons of `practice`, for all in the same order, and shows `repeats` of
    its comparisons a second time, or half of them where that is less.

    Raises:
        InputError: there are no raters, one belongs to another study, or `per_item` exceeds their number.
        StudyError: the study is locked.
    """
    if not raters:
        raise InputError(f"study {study.slug} has nobody to assign comparisons to: add raters first")
    if strangers := [rater.name for rater in raters if rater.study_id != study.pk]:
        raise InputError(f"{', '.join(strangers)} do not belong to study {study.slug}")
    with transaction.atomic():
        # Two calls at once would each fill up the same places; the second waits for the first.
        Study.objects.select_for_update().get(pk=study.pk)
        study.require_unlocked()
        taken, last_positions = given_out(comparisons, raters)
        prompts, pairs = contents(comparisons)
        n_items, n_raters = taken.shape
        draw = (seed, int(taken.sum()), sum(last_positions))
        # Each draw has a stream of its own, so that none tells of another. numpy reads a seed that ends in 0 as the
        # one without it, so no number is 0.
        siding, practising, ordering, sharing = ((*draw, purpose) for purpose in range(1, 5))
        wanted = (
            np.ones_like(taken)
            if per_item is None
            else draw_overlap(n_items, n_raters, per_item, sharing, taken=taken, groups=pairs, prompts=prompts)
        )
        missing = wanted & ~taken
        a_on_left = draw_orders(n_items, n_raters, siding, overlap=missing, groups=pairs)
        practice_left = draw_orders(len(practice), n_raters, practising)
        sequences = draw_sequences(n_items, n_raters, ordering)
        assignments = []
        for r, rater in enumerate(raters):
            mine = (*draw, 5 + r)
            given = [int(item) for item in sequences[r] if missing[item, r]]
            items = draw_session(given, prompts, pairs, (*mine, 3))
            sights = [(comparisons[item], 1, bool(a_on_left[item, r])) for item in items]
            if items and not taken[:, r].any():
                first = [(pair, 1, bool(practice_left[p, r])) for p, pair in enumerate(practice)]
                again = min(repeats, len(items) // 2)
                sights = first + with_repeats(sights, again, mine, prompts=prompts[items], pairs=pairs[items])
            assignments += [
                Assignment(comparison=pair, rater=rater, presentation=sight, position=position, a_on_left=left)
                for position, (pair, sight, left) in enumerate(sights, start=last_positions[r] + 1)
            ]
        return len(Assignment.objects.bulk_create(assignments, batch_size=1000))


# A comparison as a rater meets it: which presentation, and whether its first response stands on the left.
Sight = tuple[Comparison, int, bool]


def with_repeats(
    sights: Sequence[Sight], repeats: int, seed: tuple[int, ...], *, prompts: IntArray, pairs: IntArray
) -> list[Sight]:
    """The first sights and, later in the session and with the sides drawn anew, `repeats` of them again."""
    session = place_repeats(range(len(sights)), repeats, seed, prompts=prompts, groups=pairs)
    again = [item for item, presentation in session if presentation == 2]
    left = redraw_orders(np.array([sights[item][2] for item in again], dtype=bool), (*seed, 2), groups=pairs[again])
    redrawn = dict(zip(again, left.tolist(), strict=True))
    return [
        (sights[item][0], 2, redrawn[item]) if presentation == 2 else sights[item] for item, presentation in session
    ]


def given_out(comparisons: Sequence[Comparison], raters: Sequence[Rater]) -> tuple[BoolArray, list[int]]:
    """Who has which comparison already, shape (comparisons, raters), and each rater's last position, 0 for none."""
    items = {comparison.pk: item for item, comparison in enumerate(comparisons)}
    columns = {rater.pk: column for column, rater in enumerate(raters)}
    taken = np.zeros((len(items), len(columns)), dtype=bool)
    last = [0] * len(raters)
    for rater, comparison, position in Assignment.objects.filter(rater__in=raters).values_list(
        "rater", "comparison", "position"
    ):
        last[columns[rater]] = max(last[columns[rater]], position)
        if comparison in items:
            taken[items[comparison], columns[rater]] = True
    return taken, last


def contents(comparisons: Sequence[Comparison]) -> tuple[IntArray, IntArray]:
    """The prompt and the pair of systems of each comparison, numbered from 0. Shape of both: (comparisons,)"""
    rows = Comparison.objects.filter(pk__in=[comparison.pk for comparison in comparisons]).values_list(
        "pk", "response_a__prompt", "response_a__system", "response_b__system"
    )
    of = {pk: (prompt, systems) for pk, prompt, *systems in rows}
    found = [of[comparison.pk] for comparison in comparisons]
    return numbered(prompt for prompt, _ in found), numbered(tuple(systems) for _, systems in found)


def numbered(names: Iterable[Hashable]) -> IntArray:
    """A number for each name, alike for like names, from 0 in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
