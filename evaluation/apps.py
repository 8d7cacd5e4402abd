from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    name = "evaluation"
    verbose_name = "Evaluation: what was reached"

    def ready(self) -> None:
        """What a judge is belongs to the data of a study: what its verdicts are worth follows from it."""
        from annotation import protection, seal
        from evaluation.models import Judge

        protection.OF_STUDY.update({Judge: "rater.study", Judge.runs.through: "judge.rater.study"})
        seal.DATA["judges"] = seal.Table(Judge, ("rater__name",), ("kind", "model", "config", "is_toy"))
        seal.DATA["runs of judges"] = seal.Table(Judge.runs.through, ("judge__rater__name", "run__name"))
