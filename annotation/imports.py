"""What other software wrote, into a study: prompts, responses, rankings. All is checked before anything is stored."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import models, transaction

from annotation.errors import InputError
from annotation.files import Entry, read_csv, read_json_list
from annotation.models import (
    Criterion,
    Prompt,
    Ranking,
    RankingTask,
    Rater,
    RaterKind,
    Response,
    Split,
    Study,
    System,
    SystemKind,
)
from annotation.splits import passes_filter, split_by_length
from annotation.study_files import DEFAULT_CRITERIA, read_criteria

EPITOME = ("sp_id", "seeker_post")
QUESTIONS = ("question_id", "question_text")
BATCH = 2000


@dataclass(frozen=True)
class ImportedPrompts:
    """The split of each prompt stored, and how many rows were left out, by reason."""

    splits: list[str]
    missing: int
    repeated: int
    filtered: int


@transaction.atomic
def import_prompts(
    path: Path, slug: str, *, test_size: int | float, seed: int, scorer_size: int | float = 0
) -> ImportedPrompts:
    """Store the file's prompts in the order of the split's draw, first train, then test.

    Scorer prompts are drawn from the train prompts afterwards, so that train and test part as published.

    Raises:
        InputError: the file is wrong, holds no usable prompt, or one that the study has already.
        StudyError: the study is locked.
    """
    rows, id_column, text_column = _prompt_rows(path)
    present = [row for row in rows if row.values[id_column].strip() and row.values[text_column].strip()]
    unique = _first_of_each(present, id_column)
    if id_column == "question_id" and len(unique) < len(present):
        _refuse_repeated(present, id_column)
    kept = [row for row in unique if passes_filter(row.text(text_column))]
    if not kept:
        raise InputError(f"{path}: no post of 10 to 2,000 characters and at least 3 words in column {text_column}")
    study = _study_to_fill(slug)
    known = set(study.prompts.values_list("key", flat=True))
    for row in kept:
        if row.text(id_column, max_length=64) in known:
            row.fail(id_column, f"study {slug} has a prompt {row.values[id_column]!r} already")
    texts = [row.values[text_column] for row in kept]
    train, test = split_by_length(texts, test_size, seed)
    # A post that the study has twice would teach a policy by its other copy.
    copies = Counter([*texts, *study.prompts.values_list("text", flat=True)])
    single = [index for index in train if copies[texts[index]] == 1]
    _, places = split_by_length([texts[index] for index in single], scorer_size, seed, option="--scorer-size")
    scorer = {single[place] for place in places}
    drawn = [(index, Split.SCORER if index in scorer else Split.TRAIN) for index in train]
    drawn += [(index, Split.TEST) for index in test]
    Prompt.objects.bulk_create(
        (
            Prompt(study=study, key=kept[index].values[id_column], text=texts[index], split=split)
            for index, split in drawn
        ),
        batch_size=BATCH,
    )
    study.auditevent_set.create(
        action="prompts.import", subject=f"study {slug}", new={"file": path.name, "prompts": len(kept), "seed": seed}
    )
    return ImportedPrompts(
        splits=[split for _, split in drawn],
        missing=len(rows) - len(present),
        repeated=len(present) - len(unique),
        filtered=len(unique) - len(kept),
    )


def _prompt_rows(path: Path) -> tuple[list[Entry], str, str]:
    """The rows, and the columns of id and text: EPITOME's where the file has one of them."""
    rows = read_csv(path)
    columns = EPITOME if any(column in rows[0] for column in EPITOME) else QUESTIONS
    return read_csv(path, *columns), *columns


def _first_of_each(rows: list[Entry], column: str) -> list[Entry]:
    first: dict[str, Entry] = {}
    for row in rows:
        first.setdefault(row.values[column], row)
    return list(first.values())


def _refuse_repeated(rows: list[Entry], *columns: str) -> None:
    """Raise InputError if two rows agree in all the columns."""
    seen: dict[tuple[str, ...], Entry] = {}
    for row in rows:
        before = seen.setdefault(tuple(row.identifier(column) for column in columns), row)
        if before is not row:
            row.fail(columns[-1], f"{row.values[columns[-1]]!r} was given before, in row {before.line}")


def _study_to_fill(slug: str) -> Study:
    """The study of that slug; where there is none, a draft with the paper's criteria and no consent document."""
    study = Study.objects.filter(slug=slug).first()
    if study is not None:
        study.require_unlocked()
        return study
    try:
        validate_slug(slug)
    except ValidationError as error:
        raise InputError(f"--study {slug}: a new study's name may hold only letters, digits, - and _") from error
    if len(slug) > 50:
        raise InputError(f"--study {slug}: a new study's name has 50 characters at most")
    study = Study.objects.create(slug=slug, title=slug)
    for criterion in read_criteria(DEFAULT_CRITERIA):
        criterion.study = study
        criterion.save()
    return study


@transaction.atomic
def import_responses(path: Path, study: Study, *, system: str | None, kind: SystemKind) -> dict[str, int]:
    """Store the file's responses; returns how many by name of the system.

    Systems are found by name, or made with that kind.

    Raises:
        InputError: the file is wrong, names an unknown prompt, or a response the study has already.
        StudyError: the study is locked.
    """
    study.require_unlocked()
    rows = read_csv(path, "question_id", "question_text", "response_text")
    by_id = "response_id" in rows[0]
    if not by_id and "model_name" not in rows[0]:
        raise InputError(f"{path}, row 1: column response_id is missing, or model_name in its place")
    _refuse_repeated(rows, "question_id", "response_id" if by_id else "model_name")
    prompts = {prompt.key: prompt for prompt in study.prompts.all()}
    named = [(row, _prompt_of(row, prompts), _system_name(row, system, path)) for row in rows]
    systems = {name: _system(study, name, kind) for name in dict.fromkeys(name for _, _, name in named)}
    keys = set(Response.objects.filter(prompt__study=study).values_list("prompt_id", "key"))
    numbers = _last_numbers(study)
    responses = []
    for row, prompt, name in named:
        numbers[prompt.pk, systems[name].pk] += 1
        number = numbers[prompt.pk, systems[name].pk]
        key = row.text("response_id", max_length=120) if by_id else f"{prompt.key}-{name}"[:120]
        if (prompt.pk, key) in keys:
            row.fail("response_id" if by_id else "model_name", f"prompt {prompt.key} has a response {key!r} already")
        text = row.text("response_text")
        responses.append(Response(prompt=prompt, system=systems[name], number=number, key=key, text=text))
    Response.objects.bulk_create(responses, batch_size=BATCH)
    counts = dict(Counter(name for _, _, name in named))
    study.auditevent_set.create(
        action="responses.import", subject=f"study {study.slug}", new={"file": path.name, "responses": counts}
    )
    return counts


def _last_numbers(study: Study) -> Counter[tuple[int, int]]:
    """The highest response number by (prompt, system)."""
    rows = Response.objects.filter(prompt__study=study).values_list("prompt_id", "system_id")
    return Counter({(prompt, system): last for prompt, system, last in rows.annotate(models.Max("number")).order_by()})


def _prompt_of(row: Entry, prompts: dict[str, Prompt]) -> Prompt:
    """The prompt of the row's question_id, whose text must be that of question_text but for white space."""
    prompt = prompts.get(row.identifier("question_id"))
    if prompt is None:
        row.fail("question_id", f"the study has no prompt {row.values['question_id']!r}")
    if row.text("question_text").split() != prompt.text.split():
        row.fail("question_text", f"not the text of the study's prompt {prompt.key!r}")
    return prompt


def _system_name(row: Entry, system: str | None, path: Path) -> str:
    if system is None and "model_name" in row:
        return row.text("model_name", max_length=80)
    return (system or path.stem.removesuffix("_responses"))[:80]


def _system(study: Study, name: str, kind: SystemKind) -> System:
    return System.objects.get_or_create(study=study, name=name, defaults={"kind": kind})[0]


@transaction.atomic
def import_rankings(path: Path, criterion: Criterion) -> tuple[Rater, int]:
    """Store the file's rankings as those of a judge named `imported-<file name>`; returns it and how many.

    Raises:
        InputError: the file is wrong, a ranking is no permutation, or the judge has ranked the prompt before.
        StudyError: the study is locked.
    """
    study = criterion.study
    study.require_unlocked()
    entries = read_json_list(path)
    _refuse_repeated(entries, "question_id")
    prompts = {prompt.key: prompt for prompt in study.prompts.all()}
    responses = {
        (prompt_id, key): pk
        for pk, prompt_id, key in Response.objects.filter(prompt__study=study).values_list("pk", "prompt_id", "key")
    }
    orders = []
    for entry in entries:
        prompt = _prompt_of(entry, prompts)
        orders.append((prompt, _order(entry, prompt, responses)))
    rater, _ = Rater.objects.get_or_create(
        study=study, name=f"imported-{path.stem}"[:80], defaults={"kind": RaterKind.JUDGE}
    )
    if rater.ranking_tasks.exists():
        raise InputError(f"{path}: study {study.slug} has rankings by {rater.name} already: they are not replaced")
    tasks = RankingTask.objects.record(
        # No slot: places are for participants. No order of display is known, so the responses stand in theirs.
        (RankingTask(rater=rater, prompt=prompt, position=position), sorted(order))
        for position, (prompt, order) in enumerate(orders, start=1)
    )
    count = Ranking.objects.record((task, criterion, order) for task, (_, order) in zip(tasks, orders, strict=True))
    study.auditevent_set.create(
        action="rankings.import", subject=f"rater {rater.name}", new={"file": path.name, "rankings": count}
    )
    return rater, count


def _order(entry: Entry, prompt: Prompt, responses: dict[tuple[int, str], int]) -> list[int]:
    """The ids of the ranked responses, best first."""
    ranked: dict[int, int] = {}
    rows = entry.entries("ranking")
    for row in rows:
        key, rank = row.identifier("response_id"), row.values.get("rank")
        if (prompt.pk, key) not in responses:
            row.fail("ranking", f"prompt {prompt.key} has no response {key!r}")
        if type(rank) is not int:
            row.fail("ranking", f"the rank of {key!r} must be a whole number")
        ranked[rank] = responses[prompt.pk, key]
    if len(rows) < 2 or sorted(ranked) != list(range(1, len(rows) + 1)) or len(set(ranked.values())) < len(rows):
        entry.fail("ranking", "no permutation: each response needs its own rank from 1 to the number of responses")
    return [ranked[rank] for rank in sorted(ranked)]
