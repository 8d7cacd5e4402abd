"""A study written down as a folder of TOML files (docs/study-files.md)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from annotation.errors import InputError
from annotation.models import (
    ConsentDocument,
    Criterion,
    ItemKind,
    Prompt,
    QuestionnaireItem,
    Response,
    Split,
    Study,
    StudyStatus,
    System,
    SystemKind,
)
from annotation.models.questionnaire import validate_options
from annotation.models.study import validate_statements
from annotation.splits import split_by_shares
from annotation.toml_tables import Table, read_table

DEFAULT_CRITERIA = ["therapeutic", "evaluation"]
DEFAULT_SHARES = {"train": 4, "test": 1}
DEFAULT_SYSTEM = "written"
CODES = ("completion_code", "declined_code", "screened_out_code", "full_code")
SIZES = ("seed", "responses_per_task", "tasks_per_participant", "raters_per_task")
TEXTS = ("content_note", "contact")
TABLES = ("splits", "information", "consent", "debrief")
STUDY_KEYS = {*CODES, *SIZES, *TEXTS, *TABLES, "slug", "title", "criteria", "system"}


@dataclass(frozen=True)
class WrittenResponse:
    style: str
    text: str
    qualities: dict[str, int]


@dataclass(frozen=True)
class Post:
    where: str
    key: str
    topic: str
    risk: bool
    text: str
    responses: tuple[WrittenResponse, ...]

    def response_key(self, response: WrittenResponse) -> str:
        return f"{self.key}-{response.style}"

    def quality(self, response: WrittenResponse, criterion: str) -> int:
        """The response's points, 1 to 5.

        Raises:
            InputError: the file states none.
        """
        if criterion not in response.qualities:
            raise InputError(f"{self.where}, response {response.style}: qualities lacks {criterion}")
        return response.qualities[criterion]


@dataclass(frozen=True)
class StudyFiles:
    """All that a folder holds, checked; the records are not saved and have no study yet."""

    study: Study
    criteria: list[Criterion]
    consent: ConsentDocument
    items: list[QuestionnaireItem]
    system: str
    posts: list[Post]
    splits: list[str]

    @transaction.atomic
    def create(self, status: StudyStatus = StudyStatus.DRAFT) -> Study:
        """The study with all its content, as a draft or open.

        Raises:
            InputError: there is a study of that slug.
        """
        study = self.study
        if Study.objects.filter(slug=study.slug).exists():
            raise InputError(
                f"study {study.slug} exists already: give another slug, or --if-missing to leave it as it is"
            )
        study.save()
        records: list[Criterion | ConsentDocument | QuestionnaireItem] = [*self.criteria, self.consent, *self.items]
        for record in records:
            record.study = study
            record.save()
        prompts = Prompt.objects.bulk_create(
            Prompt(study=study, key=post.key, text=post.text, split=split, topic=post.topic, risk=post.risk)
            for post, split in zip(self.posts, self.splits, strict=True)
        )
        if any(post.responses for post in self.posts):
            self._create_responses(prompts)
        study.auditevent_set.create(
            action="study.load",
            subject=f"study {study.slug}",
            new={"prompts": len(prompts), "criteria": len(self.criteria)},
        )
        if status != StudyStatus.DRAFT:
            study.advance(status)
        return study

    def _create_responses(self, prompts: Iterable[Prompt]) -> None:
        system = System.objects.create(
            study=self.study,
            name=self.system,
            kind=SystemKind.HUMAN,
            description="The responses of the study's folder",
        )
        Response.objects.bulk_create(
            Response(prompt=prompt, system=system, number=number, key=post.response_key(written), text=written.text)
            for prompt, post in zip(prompts, self.posts, strict=True)
            for number, written in enumerate(post.responses, start=1)
        )


def read_study_files(folder: Path) -> StudyFiles:
    """Everything in a study's folder.

    Raises:
        InputError: something is missing or wrong; the message names the file and the entry.
    """
    table = read_table(folder / "study.toml")
    table.only(*STUDY_KEYS)
    study = _study(table)
    names = _strings(table, "criteria", DEFAULT_CRITERIA)
    posts = read_posts(folder)
    for post in posts:
        if post.responses and len(post.responses) < study.responses_per_task:
            raise InputError(f"{post.where}: {len(post.responses)} responses, a task shows {study.responses_per_task}")
    return StudyFiles(
        study=study,
        criteria=read_criteria(names, folder / "criteria"),
        consent=_consent(table),
        items=_items(folder / "questionnaire.toml"),
        system=table.text("system", max_length=80) if "system" in table.values else DEFAULT_SYSTEM,
        posts=posts,
        splits=_splits(table.table("splits", DEFAULT_SHARES), posts, study.seed),
    )


def read_criteria(names: Iterable[str], folder: Path | None = None) -> list[Criterion]:
    """The criteria of the named sets in order, unsaved; a set of the study's own folder goes before a shipped one.

    Raises:
        InputError: there is no such set, or two of them hold the same criterion.
    """
    shipped = Path(settings.BASE_DIR) / "fixtures" / "criteria"
    tables = []
    for name in names:
        paths = [place / f"{name}.toml" for place in (folder, shipped) if place and (place / f"{name}.toml").is_file()]
        if not paths:
            known = ", ".join(sorted(path.stem for path in shipped.glob("*.toml")))
            raise InputError(f"criteria: there is no set {name!r}: there are {known}")
        file = read_table(paths[0])
        file.only("name", "criteria")
        tables += file.tables("criteria", "key")
    _refuse_repeats((table, table.slug("key")) for table in tables)
    return [_criterion(table, position) for position, table in enumerate(tables, start=1)]


def read_posts(folder: Path) -> list[Post]:
    """The posts of all posts_*.toml in the folder; a study whose prompts are imported has none.

    Raises:
        InputError: a key is given twice, or an entry is wrong.
    """
    files = [read_table(path) for path in sorted(folder.glob("posts_*.toml"))]
    for file in files:
        # A response that slipped out of its post would else leave the post without, and nobody would know.
        file.only("posts")
    tables = [table for file in files for table in file.tables("posts", "key")]
    _refuse_repeats((table, table.text("key")) for table in tables)
    return [_post(table) for table in tables]


@contextmanager
def _naming(table: Table) -> Iterator[None]:
    """What the records' own rules refuse is told with the table where it stands."""
    try:
        yield
    except ValidationError as error:
        table.fail("; ".join(error.messages))


def _strings(table: Table, key: str, default: list[str]) -> list[str]:
    values = table.take(key, list, default)
    if not values or not all(isinstance(value, str) and value.strip() for value in values):
        table.fail(f"{key} must be texts, at least one")
    return [str(value).strip() for value in values]


def _refuse_repeats(keys: Iterable[tuple[Table, str]]) -> None:
    seen: dict[str, Table] = {}
    for table, key in keys:
        if key in seen:
            table.fail(f"the key was given before, in {seen[key].where}")
        seen[key] = table


def _study(table: Table) -> Study:
    debrief = table.table("debrief", {})
    debrief.only("text")
    study = Study(
        slug=table.slug("slug"),
        title=table.text("title", max_length=200),
        debrief=debrief.text("text", default=""),
        **{key: table.text(key, default="") for key in TEXTS},
        **{key: table.text(key, max_length=32, default="") for key in CODES},
        **{key: table.take(key, int) for key in SIZES if key in table.values},
    )
    with _naming(table):
        # The rules of the database, before anything is written.
        study.clean_fields()
        study.validate_constraints(exclude={"slug"})
    return study


def _consent(table: Table) -> ConsentDocument:
    information, consent = table.table("information"), table.table("consent")
    information.only("version", "text")
    consent.only("statements")
    statements = consent.take("statements", list)
    with _naming(consent):
        validate_statements(statements)
    return ConsentDocument(
        version=information.text("version", max_length=20),
        information=information.text("text"),
        statements=[statement.strip() for statement in statements],
    )


def _criterion(table: Table, position: int) -> Criterion:
    table.only("key", "name", "question", "better_when", "worse_when", "reference", "ranked", "judged")
    return Criterion(
        key=table.slug("key"),
        name=table.text("name", max_length=80),
        question=table.text("question", max_length=300),
        better_when=table.text("better_when"),
        worse_when=table.text("worse_when"),
        reference=table.text("reference", max_length=200, default=""),
        position=position,
        ranked=table.take("ranked", bool, default=True),
        judged=table.take("judged", bool, default=True),
    )


def _items(path: Path) -> list[QuestionnaireItem]:
    file = read_table(path)
    file.only("items")
    tables = file.tables("items", "key")
    _refuse_repeats((table, table.slug("key")) for table in tables)
    return [_item(table, position) for position, table in enumerate(tables, start=1)]


def _item(table: Table, position: int) -> QuestionnaireItem:
    table.only("key", "section", "text", "help", "kind", "options", "optional")
    kind = table.text("kind")
    if kind not in ItemKind.values:
        table.fail(f"kind {kind!r} is unknown: it is one of {', '.join(ItemKind.values)}")
    options = table.take("options", list)
    with _naming(table):
        validate_options(options)
    return QuestionnaireItem(
        key=table.slug("key"),
        position=position,
        section=table.text("section", max_length=80),
        text=table.text("text", max_length=300),
        help=table.text("help", max_length=300, default=""),
        kind=kind,
        options=[{name: text.strip() for name, text in option.items()} for option in options],
        optional=table.take("optional", bool, default=True),
    )


def _post(table: Table) -> Post:
    table.only("key", "topic", "risk", "text", "responses")
    responses = table.tables("responses", "style") if "responses" in table.values else []
    _refuse_repeats((response, response.text("style")) for response in responses)
    return Post(
        where=table.where,
        key=table.text("key", max_length=64),
        topic=table.text("topic", max_length=60, default=""),
        risk=table.take("risk", bool, default=False),
        text=table.text("text"),
        responses=tuple(_response(response) for response in responses),
    )


def _response(table: Table) -> WrittenResponse:
    table.only("style", "text", "qualities")
    qualities = table.table("qualities", {})
    for criterion in qualities.values:
        if qualities.take(criterion, int) not in range(1, 6):
            qualities.fail(f"{criterion} must be 1, 2, 3, 4 or 5")
    # A response's key is the post's key, a hyphen and the style.
    return WrittenResponse(table.text("style", max_length=55), table.text("text"), dict(qualities.values))


def _splits(table: Table, posts: list[Post], seed: int) -> list[str]:
    table.only(*Split.values)
    shares = {split: table.take(split, int, default=0) for split in Split.values}
    if min(shares.values()) < 0 or not any(shares.values()):
        table.fail("the shares must be 0 or more, and not all 0")
    return split_by_shares([post.risk for post in posts], shares, seed)


def count_splits(splits: Iterable[str]) -> str:
    """Such as "36 train, 16 scorer, 20 test"."""
    counts = Counter(splits)
    return ", ".join(f"{counts[split]} {split}" for split in Split.values if counts[split])
