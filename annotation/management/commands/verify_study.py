"""Tell whether a study is as it was when it was locked."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from annotation.command import StudyCommand
from annotation.errors import StudyError
from annotation.verification import Verification, verify

WORDS = {True: "same", False: "CHANGED", None: "not sealed"}


class Command(StudyCommand):
    help = """Compute the hash of a study's data anew and compare it, table by table, with what was kept at its lock.
Tells also whether the database's triggers stand, and whether the trail of verdicts tells of them as they are.
Exits with 1 where anything differs. Before the lock, triggers and trail alone are checked."""
    examples = """  manage.py verify_study --study pilot
  manage.py verify_study --study pilot --json > verification.json"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--study", required=True, metavar="S")
        parser.add_argument("--json", action="store_true", help="the same for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        verification = verify(self.study(options["study"]))
        if options["json"]:
            self.write_json(as_json(verification))
        else:
            self.stdout.write(as_text(verification))
        if verification.problems:
            raise StudyError(f"study {verification.study.slug}: {'; '.join(verification.problems)}")


def as_json(verification: Verification) -> dict[str, Any]:
    study = verification.study

    def tables(part: str) -> dict[str, Any]:
        now = getattr(verification.now, part)
        return {name: {**asdict(now[name]), "same": same} for name, same in verification.same(part).items()}

    return {
        "study": study.slug,
        "locked_at": study.locked_at.isoformat() if study.locked_at else None,
        "data_sha256": {"at_lock": study.data_sha256 or None, "now": verification.now.sha256},
        "data": tables("data"),
        "trail": tables("trail"),
        "contradictions": verification.contradictions,
        "triggers_off": verification.triggers_off,
        "problems": verification.problems,
    }


def as_text(verification: Verification) -> str:
    study, now = verification.study, verification.now
    since = f"locked {study.locked_at:%Y-%m-%d %H:%M} UTC" if study.locked_at else "not locked"
    lines = [f"Study {study.slug}, {since}", f"sha256 at the lock  {study.data_sha256 or 'none'}"]
    lines.append(f"sha256 of the data  {now.sha256}")
    for part, digests in (("data", now.data), ("trail", now.trail)):
        for name, same in verification.same(part).items():
            lines.append(f"  {name:20} {digests[name].rows:>9,} rows  {WORDS[same]}")
    lines.append(f"Triggers that are off: {len(verification.triggers_off)}")
    lines.append(f"Verdicts that the trail contradicts: {len(verification.contradictions)}")
    return "\n".join(lines)
