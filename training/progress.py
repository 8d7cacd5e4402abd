"""Progress of the training libraries: one bar on stderr in place of their many, and stdout left to the result."""

import warnings
from typing import Any

import datasets
import transformers
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from annotation.progress import progress_bar


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
    """A bar over optimiser steps, with the last loss."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar = progress_bar(total=state.max_steps, label=self.label)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
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
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar.close()


def report_steps(trainer: Trainer, label: str) -> None:
    """Let the trainer report through StepProgress alone: its own callbacks write the logs to stdout."""
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(StepProgress(label))
