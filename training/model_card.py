"""The model card of a run's folder: README.md in the form that model hubs read."""

from typing import Any

METHODS = {
    "reward_model": "a reward model: it scores how good a response to a prompt is",
    "sft": "supervised fine-tuning on chosen responses",
    "dpo": "direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290)",
    "modpo": "multi-objective DPO (Zhou et al. 2024, arXiv:2310.03708)",
    "joint_dpo": "DPO on several criteria under one sigmoid",
    "merge": "a weighted combination of LoRA adapters",
    "sweep": "a sweep of MODPO over weights",
    "generation": "responses of a language model",
}
ADAPTERS = {"sft", "dpo", "modpo", "joint_dpo", "merge"}
LOADING = {
    True: "from peft import AutoPeftModelForCausalLM\n\nmodel = AutoPeftModelForCausalLM.from_pretrained(FOLDER)",
    False: "from transformers import AutoModelForSequenceClassification\n\n"
    "model = AutoModelForSequenceClassification.from_pretrained(FOLDER)",
}
SIMULATED = (
    "> **Simulated.** Rankings behind this artefact are by simulated raters: no person stands behind them, and it says "
    "nothing about what people prefer."
)


def model_card(record: dict[str, Any]) -> str:
    """Markdown for the record of a run, as run.json holds it."""
    parts = [
        _front_matter(record),
        f"# {record['name']}",
        f"Made by {METHODS[record['kind']]}, with Attune. Everything that is known of it is in `run.json`.",
        SIMULATED if record["simulated"] else "",
        _table("Settings", _settings(record["config"])),
        _table("Results", _results(record["metrics"])),
        _data(record),
        _use(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(record: dict[str, Any]) -> str:
    lines = ["---", "tags: [attune, " + record["kind"].replace("_", "-") + "]"]
    if "model" in record["config"]:
        lines.append(f"base_model: {record['config']['model']}")
    if record["kind"] in ADAPTERS:
        lines.append("library_name: peft")
    return "\n".join([*lines, "---"])


def _table(title: str, rows: dict[str, str]) -> str:
    if not rows:
        return ""
    return "\n".join(
        [f"## {title}", "", "| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())]
    )


def _settings(config: dict[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _text(value) for name, value in config.items() if value not in (None, "", [], {})}


def _results(metrics: dict[str, Any]) -> dict[str, str]:
    """Numbers and statistics, of a shared encoder each head's; curves and lists stay in run.json."""
    heads = metrics.get("criteria")
    of_heads = {
        f"{criterion}: {name}": text
        for criterion, head in (heads.items() if isinstance(heads, dict) else ())
        for name, text in _results(head).items()
    }
    return of_heads | {
        name.replace("_", " "): _text(value)
        for name, value in metrics.items()
        if isinstance(value, int | float | str) or (isinstance(value, dict) and "value" in value)
    }


def _text(value: Any) -> str:
    if isinstance(value, dict) and "value" in value:
        if value["value"] is None:
            return str(value["reason"])
        interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
        return f"{value['value']:.3f}{interval}, n = {value['n']}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _data(record: dict[str, Any]) -> str:
    sources = [
        *(f"- preference data set on {data['criterion']}, SHA-256 `{data['sha256']}`" for data in record["datasets"]),
        *(f"- file SHA-256 `{file['sha256']}`" for file in record["files"]),
        *(f"- run `{parent}`" for parent in record["parents"]),
    ]
    return "\n".join(["## Made from", "", *sources]) if sources else ""


def _use(record: dict[str, Any]) -> str:
    if record["kind"] not in ADAPTERS | {"reward_model"}:
        return ""
    code = LOADING[record["kind"] in ADAPTERS]
    return (
        f"## Use\n\n```python\n{code}\n```\n\nFor research. It has not been shown to be safe for people in distress: "
        "no one should be left alone with it, and it replaces neither care nor a crisis line."
    )
