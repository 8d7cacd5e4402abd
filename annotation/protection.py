# ruff: noqa: S608  # All SQL here is of our own models' names.
"""What the database itself refuses, whichever way one comes: pages, ORM, admin or plain SQL.

- Each verdict given, changed or taken away leaves a row in the trail; trail and audit events are only ever added to.
- What was submitted is final, unless its rater withdraws.
- What was judged stays as it was shown.
- A study goes one step on at a time, each told in the audit trail first. A locked study stays as it is.

The triggers are made after a migration (see `annotation.apps`) rather than in one: to alter a table SQLite makes it
anew, and its triggers are gone. Whoever owns the tables can drop them; `verify_study` tells, and `check --database`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from django.core import checks
from django.db import connections, models, transaction

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
    StudyStatus,
    System,
    TaskResponse,
    Verdict,
    VerdictEvent,
)
from annotation.triggers import Dialect, Trigger, dialect_of, execute

# What a locked study consists of, and the way from a row to its study. Apps that come after add what is theirs.
OF_STUDY: dict[type[models.Model], str] = {
    Criterion: "study",
    Prompt: "study",
    System: "study",
    Response: "prompt.study",
    Rater: "study",
    QuestionnaireItem: "study",
    Answer: "rater.study",
    RankingTask: "prompt.study",
    TaskResponse: "task.prompt.study",
    Ranking: "criterion.study",
    RankedResponse: "ranking.criterion.study",
    JudgingDesign: "study",
    JudgingDesign.systems.through: "judgingdesign.study",
    Comparison: "study",
    ReferenceVerdict: "comparison.study",
    Assignment: "rater.study",
    SafetyFlag: "assignment.rater.study",
    Verdict: "assignment.rater.study",
}
EVENTS: tuple[type[models.Model], ...] = (VerdictEvent, AuditEvent)
# No row of these gives way to another on SQLite's INSERT OR REPLACE and UPDATE OR REPLACE. (Of the rest, none of a
# locked study does.)
IRREPLACEABLE: tuple[type[models.Model], ...] = (*EVENTS, Study, Assignment, Verdict, SafetyFlag)

LOCKED = "the study is locked: its data can no longer change"
SUBMITTED = "this was submitted: it can no longer change"
KEPT = "this was submitted: only the withdrawal of its rater takes it away"
BOUND = "a verdict stays with its assignment and its criterion"
JUDGED = "this was judged: it stays as it was shown"
UNTOLD = "a study goes on one step at a time, and the audit trail tells each step first"
WITHDRAWN = "a rater who has withdrawn does not come back"
APPENDED = "audit events are only ever added, never changed or deleted"
REPLACED = "there is such a row already, and it is not replaced"
TRUNCATED = "what people gave is not truncated"


def triggers(dialect: Dialect) -> Iterator[Trigger]:
    for model, path in OF_STUDY.items():
        yield from lock(model, path, dialect)
    yield from lock_of_study(dialect)
    yield from steps_of_study(dialect)
    yield from final_once_submitted(dialect)
    yield from as_shown_once_judged(dialect)
    yield from trail(dialect)
    yield from (
        Trigger("append", table_of(m), e, "true", refusal=APPENDED) for m in EVENTS for e in ("UPDATE", "DELETE")
    )
    if dialect.replaces:
        for model in IRREPLACEABLE:
            yield Trigger("replace", table_of(model), "INSERT", stands(model), refusal=REPLACED)
            other = stands(model, besides="OLD.id")
            yield Trigger("replace", table_of(model), "UPDATE", other, refusal=REPLACED)
    if dialect.truncates:
        yield from (Trigger("keep", table_of(m), "TRUNCATE", "true", refusal=TRUNCATED) for m in protected())


def protected() -> tuple[type[models.Model], ...]:
    return (*OF_STUDY, *EVENTS, Study)


def table_of(model: type[models.Model]) -> str:
    return model._meta.db_table


def key_of(model: type[models.Model]) -> str:
    return str(model._meta.pk.column)


def parent(model: type[models.Model], path: str, row: str) -> str:
    """SQL of the id that the dotted path leads to from a row of the model's table."""
    expression = row
    for step, name in enumerate(path.split(".")):
        field = model._meta.get_field(name)
        column = field.column  # type: ignore[union-attr]  # Each step of a path is a foreign key.
        if step == 0:
            expression = f"{row}.{column}"
        else:
            expression = f"(SELECT {column} FROM {table_of(model)} WHERE {key_of(model)} = {expression})"
        model = field.related_model  # type: ignore[assignment]
    return expression


def lock(model: type[models.Model], path: str, dialect: Dialect) -> Iterator[Trigger]:
    def locked(study: str) -> str:
        return f"(SELECT status FROM {table_of(Study)} WHERE id = {study}{dialect.hold}) = 'locked'"

    table, key = table_of(model), key_of(model)
    old, new = locked(parent(model, path, "OLD")), locked(parent(model, path, "NEW"))
    replaced = locked(f"(SELECT {parent(model, path, 'there')} FROM {table} AS there WHERE there.{key} = NEW.{key})")
    yield Trigger("lock", table, "INSERT", f"{new} OR {replaced}" if dialect.replaces else new, refusal=LOCKED)
    yield Trigger("lock", table, "UPDATE", f"{old} OR {new}", refusal=LOCKED)
    yield Trigger("lock", table, "DELETE", old, refusal=LOCKED)


def lock_of_study(dialect: Dialect) -> Iterator[Trigger]:
    """A locked study is only ever unblinded, once."""
    table, locked = table_of(Study), "OLD.status = 'locked'"
    others = changed(Study, dialect, besides={"unblinded_at"})
    again = f"(OLD.unblinded_at IS NOT NULL AND NEW.unblinded_at {dialect.distinct} OLD.unblinded_at)"
    yield Trigger("lock", table, "UPDATE", f"{locked} AND ({others} OR {again})", refusal=LOCKED)
    yield Trigger("lock", table, "DELETE", locked, refusal=LOCKED)


def steps_of_study(dialect: Dialect) -> Iterator[Trigger]:
    told = f"SELECT 1 FROM {table_of(AuditEvent)} AS e WHERE e.study_id = OLD.id AND e.action ="
    order = ", ".join(f"('{before}', '{after}')" for before, after in pairwise(StudyStatus))
    next_and_told = f"(OLD.status, NEW.status) IN (VALUES {order}) AND EXISTS ({told} 'study.' || NEW.status)"
    # From the last step nothing leads on: `lock_of_study` says so.
    moved = f"NEW.status {dialect.distinct} OLD.status AND OLD.status <> 'locked' AND NOT ({next_and_told})"
    unblinded = f"NEW.unblinded_at {dialect.distinct} OLD.unblinded_at"
    unseen = f"{unblinded} AND NOT (OLD.status = 'locked' AND EXISTS ({told} 'study.unblind'))"
    yield Trigger("step", table_of(Study), "UPDATE", f"({moved}) OR ({unseen})", refusal=UNTOLD)


def final_once_submitted(dialect: Dialect) -> Iterator[Trigger]:
    verdicts, flags, assignments, raters = (table_of(model) for model in (Verdict, SafetyFlag, Assignment, Rater))
    of_submitted = f"SELECT 1 FROM {assignments} AS a WHERE a.id = %s.assignment_id AND a.submitted_at IS NOT NULL"
    submitted = of_submitted % "OLD"
    present = f"EXISTS (SELECT 1 FROM {raters} AS r WHERE r.id = %s.rater_id AND r.withdrawn_at IS NULL)"
    for table in (verdicts, flags):
        yield Trigger("final", table, "UPDATE", f"EXISTS ({submitted})", refusal=SUBMITTED)
        yield Trigger("final", table, "DELETE", f"EXISTS ({submitted} AND {present % 'a'})", refusal=KEPT)
        # PostgreSQL fires by name: a lock, where there is one, is the reason told.
        yield Trigger("submitted", table, "INSERT", f"EXISTS ({of_submitted % 'NEW'})", refusal=SUBMITTED)
    moved = changed(Verdict, dialect, besides={"choice", "changed_at"})
    yield Trigger("bound", verdicts, "UPDATE", moved, refusal=BOUND)

    once = f"OLD.submitted_at IS NOT NULL AND ({changed(Assignment, dialect)})"
    yield Trigger("final", assignments, "UPDATE", once, refusal=SUBMITTED)
    kept = f"OLD.submitted_at IS NOT NULL AND {present % 'OLD'}"
    yield Trigger("final", assignments, "DELETE", kept, refusal=KEPT)
    back = f"OLD.withdrawn_at IS NOT NULL AND NEW.withdrawn_at {dialect.distinct} OLD.withdrawn_at"
    yield Trigger("final", raters, "UPDATE", back, refusal=WITHDRAWN)


def as_shown_once_judged(dialect: Dialect) -> Iterator[Trigger]:
    """What a verdict was given on: the words, the sides, and which system wrote what. A pair's design and stratum may
    change, since a later design takes it over."""
    pair, response = table_of(Comparison), table_of(Response)
    verdicts = f"FROM {table_of(Verdict)} AS v JOIN {table_of(Assignment)} AS a ON a.id = v.assignment_id"
    on_pairs = f"{verdicts} JOIN {pair} AS p ON p.id = a.comparison_id"
    on_responses = f"{on_pairs} JOIN {response} AS r ON r.id IN (p.response_a_id, p.response_b_id)"
    given_on: dict[type[models.Model], tuple[str, set[str]]] = {
        Prompt: (f"{on_responses} WHERE r.prompt_id", {"study", "key", "text"}),
        System: (f"{on_responses} WHERE r.system_id", {"study", "name", "kind"}),
        Response: (f"{on_responses} WHERE r.id", {"prompt", "system", "number", "text"}),
        Comparison: (f"{verdicts} WHERE a.comparison_id", {"study", "calibration", "response_a", "response_b"}),
        Assignment: (f"{verdicts} WHERE a.id", {"comparison", "rater", "presentation", "position", "a_on_left"}),
    }
    for model, (judged, columns) in given_on.items():
        differs = changed(model, dialect, only=columns)
        yield Trigger(
            "shown", table_of(model), "UPDATE", f"({differs}) AND EXISTS (SELECT 1 {judged} = OLD.id)", refusal=JUDGED
        )


def trail(dialect: Dialect) -> Iterator[Trigger]:
    """A row of the trail for each change of a verdict. One whose assignment is gone already cannot be deleted: its
    row in the trail would have no rater."""

    def noted(row: str, old: str, new: str) -> str:
        study, rater = (parent(Verdict, f"assignment.rater{end}", row) for end in (".study", ""))
        return (
            f'INSERT INTO {table_of(VerdictEvent)} (study_id, rater_id, criterion_id, assignment, "old", "new", "by") '
            f"VALUES ({study}, {rater}, {row}.criterion_id, {row}.assignment_id, {old}, {new}, {dialect.by})"
        )

    table = table_of(Verdict)
    yield Trigger("trail", table, "INSERT", "true", effect=noted("NEW", "''", "NEW.choice"))
    differs = f"NEW.choice {dialect.distinct} OLD.choice"
    yield Trigger("trail", table, "UPDATE", differs, effect=noted("NEW", "OLD.choice", "NEW.choice"))
    yield Trigger("trail", table, "DELETE", "true", effect=noted("OLD", "OLD.choice", "''"))


def changed(
    model: type[models.Model], dialect: Dialect, *, only: Collection[str] = (), besides: Collection[str] = ()
) -> str:
    """Whether one of the columns changes: of `only` where given, else of all but `besides`."""
    names = only or {field.name for field in model._meta.concrete_fields}.difference(besides)
    columns = [field.column for field in model._meta.concrete_fields if field.name in names]
    return " OR ".join(f'NEW."{column}" {dialect.distinct} OLD."{column}"' for column in columns)


def stands(model: type[models.Model], *, besides: str = "NULL") -> str:
    """Whether a row with one of the new row's unique keys is there, `besides` the row of that id."""
    columns = {field.name: field.column for field in model._meta.concrete_fields}
    keys: list[Sequence[str]] = [(field.name,) for field in model._meta.concrete_fields if field.unique]
    keys += [c.fields for c in model._meta.constraints if isinstance(c, models.UniqueConstraint)]
    same = " OR ".join(" AND ".join(f"there.{columns[name]} = NEW.{columns[name]}" for name in key) for key in keys)
    return f"EXISTS (SELECT 1 FROM {table_of(model)} AS there WHERE there.id IS NOT {besides} AND ({same}))"


def absent(using: str = "default") -> list[str]:
    """Names of the triggers that do not stand in the database as they should."""
    dialect = dialect_of(connections[using])
    standing = dialect.standing()
    return [t.name for t in triggers(dialect) if standing.get(t.name) != dialect.definition(t)]


def check(databases: Collection[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Of `manage.py check --database`: a migration that failed may have left triggers off. A warning, since migrate
    asks first, and is the cure."""
    missing = [names for using in databases or () if has_tables(using) and (names := absent(using))]
    return [
        checks.Warning(
            f"{len(names)} of the database's triggers are off, such as {names[0]}",
            hint="run manage.py migrate",
            id="annotation.W001",
        )
        for names in missing
    ]


def has_tables(using: str) -> bool:
    """Whether all that is guarded is there: before the first migration, and after one that took us back, it is not."""
    tables = {trigger.table for trigger in triggers(dialect_of(connections[using]))}
    return tables <= set(connections[using].introspection.table_names())


def install(using: str = "default") -> None:
    """Make the triggers, unless all stand as they should or there is nothing to guard."""
    connection = connections[using]
    dialect = dialect_of(connection)
    wanted = list(triggers(dialect))
    if not has_tables(using):
        remove(using)
    elif dialect.standing() != {trigger.name: dialect.definition(trigger) for trigger in wanted}:
        with transaction.atomic(using=using):
            remove(using)
            execute(connection, (statement for trigger in wanted for statement in dialect.statements(trigger)))


def remove(using: str = "default") -> None:
    connection = connections[using]
    dialect = dialect_of(connection)
    execute(connection, [dialect.drop(name) for name in dialect.standing()])


@contextmanager
def lifted(using: str = "default") -> Iterator[None]:
    """Without the triggers, in one transaction that others wait for."""
    with transaction.atomic(using=using):
        remove(using)
        yield
        install(using)


def before_migration(plan: Sequence[Any], using: str, **kwargs: Any) -> None:
    """Where the triggers would not outlive it. Elsewhere they stand on, also when a migration fails."""
    if plan and dialect_of(connections[using]).rebuilds:
        remove(using)


def after_migration(using: str, **kwargs: Any) -> None:
    install(using)
