# ruff: noqa: S608  # All SQL here is of our own models' names.
"""What the database itself refuses, whichever way one comes: pages, ORM, admin or plain SQL.

- Each verdict given, changed or taken away leaves a row in the trail; trail and audit events are only ever added to.
- What was submitted is final, unless its rater withdraws.
- A locked study stays as it is.

The triggers are made after a migration and taken off before one (see `annotation.apps`) rather than in one: to alter
a table SQLite makes it anew, and its triggers are gone. Whoever owns the tables can drop them; `verify_study` tells.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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
    System,
    TaskResponse,
    Verdict,
    VerdictEvent,
)
from annotation.triggers import Dialect, Trigger, dialect_of, execute

# What a locked study consists of, and the way from a row to its study.
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
PROTECTED: tuple[type[models.Model], ...] = (*OF_STUDY, *EVENTS, Study)
# No row of these gives way to another on SQLite's INSERT OR REPLACE. (Of the rest, none of a locked study does.)
IRREPLACEABLE: tuple[type[models.Model], ...] = (*EVENTS, Study, Assignment, Verdict, SafetyFlag)

LOCKED = "the study is locked: its data can no longer change"
SUBMITTED = "this was submitted: it can no longer change"
KEPT = "this was submitted: only the withdrawal of its rater takes it away"
BOUND = "a verdict stays with its assignment and its criterion"
WITHDRAWN = "a rater who has withdrawn does not come back"
APPENDED = "audit events are only ever added, never changed or deleted"
REPLACED = "there is such a row already, and it is not replaced"
TRUNCATED = "what people gave is not truncated"


def triggers(dialect: Dialect) -> Iterator[Trigger]:
    for model, path in OF_STUDY.items():
        yield from lock(model, path, dialect)
    yield from lock_of_study(dialect)
    yield from final_once_submitted(dialect)
    yield from trail(dialect)
    yield from (
        Trigger("append", table_of(m), e, "true", refusal=APPENDED) for m in EVENTS for e in ("UPDATE", "DELETE")
    )
    if dialect.replaces:
        yield from (Trigger("replace", table_of(m), "INSERT", stands(m), refusal=REPLACED) for m in IRREPLACEABLE)
    if dialect.truncates:
        yield from (Trigger("keep", table_of(m), "TRUNCATE", "true", refusal=TRUNCATED) for m in PROTECTED)


def table_of(model: type[models.Model]) -> str:
    return model._meta.db_table


def parent(model: type[models.Model], path: str, row: str) -> str:
    """SQL of the id that the dotted path leads to from a row of the model's table."""
    expression = row
    for step, name in enumerate(path.split(".")):
        field = model._meta.get_field(name)
        column = field.column  # type: ignore[union-attr]  # Each step of a path is a foreign key.
        if step == 0:
            expression = f"{row}.{column}"
        else:
            expression = f"(SELECT {column} FROM {table_of(model)} WHERE id = {expression})"
        model = field.related_model  # type: ignore[assignment]
    return expression


def lock(model: type[models.Model], path: str, dialect: Dialect) -> Iterator[Trigger]:
    def locked(study: str) -> str:
        return f"(SELECT status FROM {table_of(Study)} WHERE id = {study}{dialect.hold}) = 'locked'"

    table = table_of(model)
    old, new = locked(parent(model, path, "OLD")), locked(parent(model, path, "NEW"))
    replaced = locked(f"(SELECT {parent(model, path, 'there')} FROM {table} AS there WHERE there.id = NEW.id)")
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


def final_once_submitted(dialect: Dialect) -> Iterator[Trigger]:
    verdicts, flags, assignments, raters = (table_of(model) for model in (Verdict, SafetyFlag, Assignment, Rater))
    of_submitted = f"SELECT 1 FROM {assignments} AS a WHERE a.id = %s.assignment_id AND a.submitted_at IS NOT NULL"
    submitted = of_submitted % "OLD"
    present = f"EXISTS (SELECT 1 FROM {raters} AS r WHERE r.id = %s.rater_id AND r.withdrawn_at IS NULL)"
    for table in (verdicts, flags):
        yield Trigger("final", table, "UPDATE", f"EXISTS ({submitted})", refusal=SUBMITTED)
        yield Trigger("final", table, "DELETE", f"EXISTS ({submitted} AND {present % 'a'})", refusal=KEPT)
    # Flags come before the submission, as a clinician's verdicts do; imports and judges store verdicts after it.
    # PostgreSQL fires by name: a lock, where there is one, is the reason told.
    yield Trigger("submitted", flags, "INSERT", f"EXISTS ({of_submitted % 'NEW'})", refusal=SUBMITTED)
    moved = changed(Verdict, dialect, besides={"choice", "changed_at"})
    yield Trigger("bound", verdicts, "UPDATE", moved, refusal=BOUND)

    once = f"OLD.submitted_at IS NOT NULL AND ({changed(Assignment, dialect)})"
    yield Trigger("final", assignments, "UPDATE", once, refusal=SUBMITTED)
    kept = f"OLD.submitted_at IS NOT NULL AND {present % 'OLD'}"
    yield Trigger("final", assignments, "DELETE", kept, refusal=KEPT)
    back = f"OLD.withdrawn_at IS NOT NULL AND NEW.withdrawn_at {dialect.distinct} OLD.withdrawn_at"
    yield Trigger("final", raters, "UPDATE", back, refusal=WITHDRAWN)


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


def changed(model: type[models.Model], dialect: Dialect, *, besides: Sequence[str] | set[str] = ()) -> str:
    columns = [field.column for field in model._meta.concrete_fields if field.name not in besides]
    return " OR ".join(f'NEW."{column}" {dialect.distinct} OLD."{column}"' for column in columns)


def stands(model: type[models.Model]) -> str:
    """Whether a row with one of the new row's unique keys is there."""
    columns = {field.name: field.column for field in model._meta.concrete_fields}
    keys: list[Sequence[str]] = [(field.name,) for field in model._meta.concrete_fields if field.unique]
    keys += [c.fields for c in model._meta.constraints if isinstance(c, models.UniqueConstraint)]
    same = " OR ".join(" AND ".join(f"there.{columns[name]} = NEW.{columns[name]}" for name in key) for key in keys)
    return f"EXISTS (SELECT 1 FROM {table_of(model)} AS there WHERE {same})"


def absent(using: str = "default") -> list[str]:
    """Names of the triggers that do not stand in the database as they should."""
    dialect = dialect_of(connections[using])
    standing = dialect.standing()
    return [t.name for t in triggers(dialect) if standing.get(t.name) != dialect.definition(t)]


def install(using: str = "default") -> None:
    """Make the triggers, unless all stand as they should, or a migration took us back to before their tables."""
    connection = connections[using]
    dialect = dialect_of(connection)
    wanted = list(triggers(dialect))
    if not {trigger.table for trigger in wanted} <= set(connection.introspection.table_names()):
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
    if plan:
        remove(using)


def after_migration(using: str, **kwargs: Any) -> None:
    install(using)
