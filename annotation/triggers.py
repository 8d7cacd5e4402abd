"""Triggers on SQLite and PostgreSQL from one description: made, compared with what stands, taken off.

All of them are BEFORE (refusals) or AFTER (effects) a row; their names begin with `attune_`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

PREFIX = "attune_"


@dataclass(frozen=True)
class Trigger:
    """Refuses an event, or has an effect, where `when` holds: SQL over the rows OLD and NEW."""

    rule: str
    table: str
    event: str
    when: str
    refusal: str = ""
    effect: str = ""

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.rule}_{self.table}_{self.event.lower()}"

    @property
    def timing(self) -> str:
        return "AFTER" if self.effect else "BEFORE"


class SQLite:
    distinct = "IS NOT"
    # Writers queue: none is under way while a study is locked.
    hold = ""
    by = "'sqlite'"
    # INSERT OR REPLACE takes a row away without a word to the triggers on DELETE.
    replaces = True
    # To alter a table is to make it anew.
    rebuilds = True
    truncates = False

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def statements(self, trigger: Trigger) -> tuple[str, ...]:
        body = trigger.effect or f"SELECT RAISE(ABORT, '{trigger.refusal}')"
        statement = (
            f"CREATE TRIGGER {trigger.name} {trigger.timing} {trigger.event} ON {trigger.table} "
            f"FOR EACH ROW WHEN {trigger.when} BEGIN {body}; END"
        )
        return (statement,)

    def definition(self, trigger: Trigger) -> tuple[str, ...]:
        return self.statements(trigger)

    def standing(self) -> dict[str, tuple[str, ...]]:
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, %s) = %s"
        return by_name(self.connection, query, [len(PREFIX), PREFIX])

    def drop(self, name: str) -> str:
        return f"DROP TRIGGER {name}"


class PostgreSQL:
    distinct = "IS DISTINCT FROM"
    # Who locks a study waits for those who write; who comes to write then waits for the lock, and sees it.
    hold = " FOR SHARE"
    by = "left(session_user || ', ' || current_setting('application_name'), 120)"
    replaces = False
    rebuilds = False
    truncates = True

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def statements(self, trigger: Trigger) -> tuple[str, ...]:
        # Temporary tables are found last: one named like the trail must not take its rows.
        function = (
            f"CREATE FUNCTION {trigger.name}() RETURNS trigger LANGUAGE plpgsql "
            f"SET search_path = {self.schema}, pg_temp AS $body${self.body(trigger)}$body$"
        )
        return function, self.trigger(trigger)

    @cached_property
    def schema(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT quote_ident(current_schema())")
            return str(cursor.fetchone()[0])

    def body(self, trigger: Trigger) -> str:
        refuse = f"RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = '{trigger.refusal}'"
        row = {"DELETE": "OLD", "TRUNCATE": "NULL"}.get(trigger.event, "NEW")
        return f"BEGIN IF {trigger.when} THEN {trigger.effect or refuse}; END IF; RETURN {row}; END"

    def trigger(self, trigger: Trigger) -> str:
        each = "STATEMENT" if trigger.event == "TRUNCATE" else "ROW"
        return (
            f"CREATE TRIGGER {trigger.name} {trigger.timing} {trigger.event} ON {trigger.table} "
            f"FOR EACH {each} EXECUTE FUNCTION {trigger.name}()"
        )

    def definition(self, trigger: Trigger) -> tuple[str, ...]:
        enabled = "O"
        return self.trigger(trigger), self.body(trigger), enabled

    def standing(self) -> dict[str, tuple[str, ...]]:
        query = """
            SELECT proname, pg_get_triggerdef(pg_trigger.oid, true), prosrc, tgenabled::text
            FROM pg_proc LEFT JOIN pg_trigger ON tgfoid = pg_proc.oid
            WHERE pronamespace = current_schema()::regnamespace AND starts_with(proname, %s)
        """
        return by_name(self.connection, query, [PREFIX])

    def drop(self, name: str) -> str:
        return f"DROP FUNCTION {name} CASCADE"


Dialect = SQLite | PostgreSQL


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    return PostgreSQL(connection) if connection.vendor == "postgresql" else SQLite(connection)


def execute(connection: BaseDatabaseWrapper, statements: Iterable[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def by_name(connection: BaseDatabaseWrapper, query: str, parameters: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return {name: tuple(definition) for name, *definition in cursor.fetchall()}
