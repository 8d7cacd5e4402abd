"""A hash over all that an analysis of a study depends on, taken when it is locked and told in its report.

Rows are named by what they are, never by their ids, and put in one order, so that the same data have the same hash in
any database. Left out are logins, consent and panel records, drafts, and what judges replied word by word: the verdicts
read from it are there.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection, models
from django.db.models.functions import Collate

from annotation import protection
from annotation.errors import StudyError
from annotation.models import (
    Answer,
    Assignment,
    AuditEvent,
    Comparison,
    Criterion,
    JudgingDesign,
    Prompt,
    QuestionnaireItem,
    RankedResponse,
    Ranking,
    RankingTask,
    Rater,
    ReferenceVerdict,
    Response,
    SafetyFlag,
    Study,
    System,
    TaskResponse,
    Verdict,
    VerdictEvent,
)

FORMAT = "attune study data 1"
ACTION = "study.seal"


@dataclass(frozen=True)
class Table:
    """Rows of a model, found by the way to their study that `protection` guards. `key` tells one from another, in their
    order."""

    model: type[models.Model]
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def rows(self, study: Study) -> Iterator[tuple[Any, ...]]:
        way = "pk" if self.model is Study else protection.OF_STUDY.get(self.model, "study").replace(".", "__")
        found = self.model._default_manager.filter(**{way: study.pk}).order_by(*map(self.by_bytes, self.key))
        return found.values_list(*self.key, *self.columns).iterator(chunk_size=5000)

    def by_bytes(self, path: str) -> Any:
        """Order of a column that is the same in every database, whatever the language it sorts by."""
        field: Any = None
        model = self.model
        for name in path.split("__"):
            field = model._meta.get_field(name)
            model = field.related_model or model
        text = isinstance(field, models.CharField | models.TextField)
        return Collate(path, "C" if connection.vendor == "postgresql" else "BINARY") if text else path


PAIR = (
    "response_a__prompt__key",
    "response_a__system__name",
    "response_a__number",
    "response_b__system__name",
    "response_b__number",
)
# Apps that come after add what is theirs.
DATA = {
    "study": Table(
        Study, ("slug",), ("title", "seed", "responses_per_task", "tasks_per_participant", "raters_per_task")
    ),
    "criteria": Table(
        Criterion,
        ("key",),
        ("position", "name", "question", "better_when", "worse_when", "reference", "ranked", "judged"),
    ),
    "prompts": Table(Prompt, ("key",), ("text", "split", "topic", "risk")),
    "systems": Table(System, ("name",), ("kind", "description")),
    "responses": Table(Response, ("prompt__key", "system__name", "number"), ("key", "text", "sampling")),
    "raters": Table(Rater, ("name",), ("kind", "simulated", "withdrawn_at")),
    "questionnaire items": Table(
        QuestionnaireItem, ("key",), ("position", "section", "text", "help", "kind", "options", "optional")
    ),
    "answers": Table(Answer, ("rater__name", "item__key"), ("value",)),
    "ranking tasks": Table(RankingTask, ("rater__name", "position"), ("prompt__key", "skipped_at")),
    "responses of tasks": Table(
        TaskResponse,
        ("task__rater__name", "task__position", "position"),
        ("response__prompt__key", "response__system__name", "response__number"),
    ),
    "rankings": Table(
        Ranking,
        ("task__rater__name", "task__position", "criterion__key"),
        ("opened_at", "submitted_at"),
    ),
    "ranked responses": Table(
        RankedResponse,
        ("ranking__task__rater__name", "ranking__task__position", "ranking__criterion__key", "rank"),
        ("size", "response__prompt__key", "response__system__name", "response__number"),
    ),
    "designs": Table(
        JudgingDesign,
        ("name",),
        ("baseline__name", "prompts", "raters_per_pair", "repeated_pairs", "seed", "strata", "opened_at"),
    ),
    "systems of designs": Table(JudgingDesign.systems.through, ("judgingdesign__name", "system__name")),
    "comparisons": Table(Comparison, PAIR, ("design__name", "calibration", "stratum")),
    "reference verdicts": Table(
        ReferenceVerdict,
        (*(f"comparison__{path}" for path in PAIR), "criterion__key"),
        ("winner", "explanation"),
    ),
    "assignments": Table(
        Assignment,
        ("rater__name", "position"),
        (*(f"comparison__{path}" for path in PAIR), "presentation", "a_on_left", "opened_at", "submitted_at", "reason"),
    ),
    "verdicts": Table(
        Verdict,
        ("assignment__rater__name", "assignment__position", "criterion__key"),
        ("choice",),
    ),
    "safety flags": Table(
        SafetyFlag,
        ("assignment__rater__name", "assignment__position", "side", "kind"),
        ("note",),
    ),
}
# The trail belongs to its database: it is hashed beside the data, in the order and with the ids it was written.
TRAIL = {
    "verdict events": Table(
        VerdictEvent, ("id",), ("at", "rater__name", "criterion__key", "assignment", "old", "new", "by")
    ),
    "audit events": Table(AuditEvent, ("id",), ("at", "user", "rater__name", "action", "subject", "old", "new")),
}


@dataclass(frozen=True)
class Digest:
    rows: int
    sha256: str


Digests = Mapping[str, Digest]


@dataclass(frozen=True)
class Seal:
    """{table: its digest}, of the data and of the trail."""

    data: Digests
    trail: Digests

    @property
    def sha256(self) -> str:
        return hash_of(self.data)


def hash_of(data: Digests) -> str:
    """Hex digest over the digests of all tables."""
    lines = [FORMAT, *(f"{name}: {table.rows} rows, {table.sha256}" for name, table in sorted(data.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def data_of(study: Study) -> Digests:
    """The digests of the study's data as they are now."""
    return {name: digest(table.rows(study)) for name, table in DATA.items()}


def trail_of(study: Study, *, before: int | None = None) -> Digests:
    """The digests of the study's trail as it is now; of audit events, those before the one of that id."""
    audited = (row for row in TRAIL["audit events"].rows(study) if before is None or row[0] < before)
    return {"verdict events": digest(TRAIL["verdict events"].rows(study)), "audit events": digest(audited)}


def keep(study: Study, data: Digests) -> None:
    """Note the seal in the audit trail of a study that was just locked.

    Raises:
        StudyError: the database would not keep the study as it is.
    """
    if missing := protection.absent():
        raise StudyError(
            f"{len(missing)} of the database's triggers are off, such as {missing[0]}: run manage.py migrate"
        )
    seal = Seal(data=data, trail=trail_of(study))
    new = {"format": FORMAT, "sha256": seal.sha256, **asdict(seal)}
    AuditEvent.objects.create(study=study, action=ACTION, subject=f"study {study.slug}", new=new)


def kept(study: Study) -> tuple[AuditEvent, Seal] | None:
    """The seal of the study's lock, and the event that holds it."""
    event = AuditEvent.objects.filter(study=study, action=ACTION).first()
    if event is None:
        return None
    noted: Any = event.new
    data, trail = ({name: Digest(**table) for name, table in noted[part].items()} for part in ("data", "trail"))
    return event, Seal(data=data, trail=trail)


def digest(rows: Iterable[tuple[Any, ...]]) -> Digest:
    """Of one line of JSON a row."""
    encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=instant).encode
    sha256, count = hashlib.sha256(), 0
    for row in rows:
        sha256.update(encode([settled(value) for value in row]).encode() + b"\n")
        count += 1
    return Digest(rows=count, sha256=sha256.hexdigest())


def instant(value: object) -> str:
    """A time in UTC, to the microsecond."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    raise TypeError(f"no {type(value).__name__} has a place in the data of a study")


def settled(value: Any) -> Any:
    """Without what databases keep differently: PostgreSQL reads the 1e22 of a JSON column as a whole number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [settled(item) for item in value]
    if isinstance(value, dict):
        return {key: settled(item) for key, item in value.items()}
    return value
