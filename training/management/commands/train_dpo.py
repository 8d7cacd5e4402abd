from training.command import OneCriterionCommand
from training.models import RunKind


class Command(OneCriterionCommand):
    kind = RunKind.DPO
    help = "Train a policy on one criterion's preference pairs (DPO). Killed and started again, it goes on."
    examples = """\
  manage.py train_dpo --criterion empathy --study demo
  manage.py train_dpo --criterion empathy --pairs empathy_pairs.json --output dpo-empathy --epochs 2 --json"""
