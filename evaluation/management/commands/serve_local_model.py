import threading
from argparse import ArgumentParser
from typing import Any

from annotation.command import StudyCommand
from annotation.options import port
from evaluation.local_server import local_model_server


class Command(StudyCommand):
    help = (
        "Serve the small local model as an OpenAI-compatible endpoint. As a judge it is a toy: it tries the path out."
    )
    examples = """\
  manage.py serve_local_model
  manage.py serve_local_model --port 9000"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=port, default=8081)

    def handle(self, *args: Any, **options: Any) -> None:
        with local_model_server(port=options["port"]) as endpoint:
            self.stdout.write(endpoint)
            self.stdout.flush()
            self.say("serving until you press Ctrl-C")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                self.say("stopped")
