"""`manage.py serve_demo`."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.urls import reverse

from annotation.command import StudyCommand
from annotation.errors import StudyError
from annotation.models import Study
from annotation.options import port
from evaluation.demo import STUDY, TRY_OUT, Demo


class Command(StudyCommand):
    help = "Serve the demonstration site on this machine alone, as a real site is served: gunicorn, debug off."
    examples = "  manage.py serve_demo\n  manage.py serve_demo --port 8080"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=port, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        demo = Demo(say=self.say)
        logins = demo.kept("logins.json")
        if not logins:
            raise StudyError("the demonstration is not there yet: run `make demo`")
        environment = {
            **os.environ,
            "ATTUNE_DEBUG": "0",
            "ATTUNE_HTTPS": "0",
            "ATTUNE_SECOND_FACTOR": "0",
            "ATTUNE_SECRET_KEY": secret(demo.folder),
        }
        subprocess.run(
            [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"],
            cwd=settings.BASE_DIR,
            env=environment,
            check=True,
        )
        for line in addresses(f"http://127.0.0.1:{options['port']}", logins):
            self.stdout.write(line)
        self.stdout.flush()
        os.chdir(settings.BASE_DIR)
        server = [sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{options['port']}"]
        os.execve(sys.executable, [*server, "--workers", "2", "--threads", "4", "--log-level", "warning"], environment)  # noqa: S606


def secret(folder: Path) -> str:
    """The site's secret key, drawn once for this machine."""
    path = folder / "secret_key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(48))
    return path.read_text()


def addresses(site: str, logins: dict[str, str]) -> list[str]:
    report = site + reverse("admin:evaluation_studyreport_change", args=[Study.objects.get(slug=STUDY).pk])
    return [
        "",
        f"  participant  {site}/s/{TRY_OUT}/  (no login)",
        f"  clinician    {site}/sign-in/  clinician / {logins['clinician']}",
        f"  researcher   {site}/admin/  researcher / {logins['researcher']}",
        f"  admin        {site}/admin/  admin / {logins['admin']}",
        f"  report       {report}  (all of it simulated)",
        "",
    ]
