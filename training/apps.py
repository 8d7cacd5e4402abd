from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    verbose_name = "Training: what models learn"

    def ready(self) -> None:
        """Whoever withdraws a participant is told beforehand what learned from them."""
        from annotation import withdrawal
        from training import lineage

        withdrawal.LEARNERS.append(lineage.learned_from)
