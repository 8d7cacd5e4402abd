from training.command import OneCriterionCommand
from training.models import RunKind


class Command(OneCriterionCommand):
    kind = RunKind.SFT
    help = "Train a policy to imitate the responses that rank best on a criterion (SFT), a baseline of the paper."
    examples = """\
  manage.py train_sft --criterion empathy --study demo
  manage.py train_sft --criterion empathy --pairs empathy_pairs.json --output sft-empathy --json"""
