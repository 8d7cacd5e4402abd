"""Progress of the training libraries: one bar on stderr in place of their many, and stdout left to the result."""

import warnings
from typing import Any

import datasets
import transformers
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from annotation.progress import progress_bar

SHOWN = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies"}


def quiet_libraries() -> None:
    """Silence bars and notices of transformers and datasets; errors still come through."""
    # Untyped in transformers.
    notices: Any = transformers.utils.logging
    notices.set_verbosity_error()
    notices.disable_progress_bar()
    datasets.disable_progress_bars()
    # The tensors of a machine without GPU have no pinned memory to go to.
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    warnings.filterwarnings("ignore", message=".*use_mps_device.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft|torch)\b")


class StepProgress(TrainerCallback):
    """A bar over updates with the last loss, margin and accuracy."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.bar = progress_bar(total=state.max_steps, initial=state.global_step, label=self.label)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.bar is not None and logs and "loss" in logs:
            shown = {name: f"{float(logs[key]):.3f}" for name, key in SHOWN.items() if key in logs}
            self.bar.set_postfix(shown, refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.close()


def report_steps(trainer: Trainer, label: str) -> None:
    """Let the trainer report through StepProgress alone: its own callbacks write the logs to stdout."""
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(StepProgress(label))
