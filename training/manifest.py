"""What lies beside the data of an export: manifest.json with the hashes that seal it, README.md that tells of it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotation.errors import InputError

MANIFEST, CARD, PROVENANCE = "manifest.json", "README.md", "provenance.jsonl"
WEIGHTS = (
    "The pairs of one ranking follow from one order and are correlated. So their weights sum to 1, and a ranking "
    "counts once, however many pairs it makes."
)
COLUMNS = {
    "trl": f"""`prompt`, `chosen` and `rejected` are conversations of one message, as TRL takes them. Beside them stand
`prompt_id`, `chosen_id`, `rejected_id`, the number of places between the two (`rank_gap`) and the pair's `weight`.
{WEIGHTS} TRL's own trainers ignore the column.

    trl dpo --dataset_name FOLDER --model_name_or_path MODEL --output_dir OUT""",
    "authors-pairs": """Each object holds `question_id`, `question_text` and, as `chosen` and `rejected`, a response's
`response_id` and `response_text`.""",
    "authors-rankings": """Each object holds `question_id`, `question_text` and the `ranking`: `rank`, `response_id` and
`response_text` of each response.""",
}
CHANGED = "it is part of an exported data set and has changed since, or is gone: move the folder away and export again"


def content_hash(choices: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 over the choices of an export and the hashes of its data files."""
    hashed = json.dumps([choices, {name: file["sha256"] for name, file in files.items()}], sort_keys=True)
    return hashlib.sha256(hashed.encode()).hexdigest()


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Hash and size of each file of the folder."""
    return {path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size} for path in sorted(folder.iterdir())}


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """manifest.json and, drawn from it, the data set's card README.md."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(manifest), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an export; None where the folder holds none, or one of something else.

    Raises:
        InputError: it is no JSON.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: the file was changed or cut short, export the data set again") from error
    return manifest if isinstance(manifest, dict) and {"content_hash", "choices", "files"} <= manifest.keys() else None


def require_unchanged(folder: Path, sealed: str | None = None) -> None:
    """Nothing, if all files are as they were exported, or if the folder is no export and none was expected.

    Args:
        sealed: the content hash that the data set must have, where it is known.

    Raises:
        InputError: a file is gone or has changed.
    """
    manifest = read_manifest(folder)
    if manifest is None and sealed is None:
        return
    if manifest is None:
        raise InputError(f"{folder / MANIFEST}: {CHANGED}")
    for name, file in manifest["files"].items():
        path = folder / name
        if not path.is_file() or _sha256(path) != file["sha256"]:
            raise InputError(f"{path}: {CHANGED}")
    followed = content_hash(manifest["choices"], manifest["files"])
    if followed != manifest["content_hash"] or followed != (sealed or followed):
        raise InputError(f"{folder / MANIFEST}: {CHANGED}")


def card(manifest: Mapping[str, Any]) -> str:
    """A data set card. Its head tells `datasets`, and so TRL, which file is which split."""
    choices, counts, files = manifest["choices"], manifest["counts"], manifest["files"]
    splits = "".join(
        f"  - split: {'test' if name.removeprefix('eval_') in files.keys() - {name} else 'train'}\n    path: {name}\n"
        for name, file in sorted(files.items(), reverse=True)
        if name != PROVENANCE and file["records"]
    )
    table = "\n".join(f"| `{name}` | {file['records']} |" for name, file in sorted(files.items()))
    return f"""---
configs:
- config_name: default
  data_files:
{splits}---
# Preferences on {choices["criterion"]}, study {choices["study"]}

**{manifest["label"]}**

{counts["rankings"]} rankings by {counts["raters"]} raters of the responses to {counts["prompts"]} help-seeking posts
(split {choices["split"]}), made into one order a post by
{choices["aggregation"].replace("_", " ")}{_pairs_made(manifest)}.
Source of the rankings: {choices["source"]}. Excluded by rule: {", ".join(choices["exclude"]) or "nothing"}.

| file | records |
|---|---|
{table}

{COLUMNS[choices["format"]]}

`{PROVENANCE}` names the rankings behind each order, `{MANIFEST}` the hashes, exclusions and consent versions.
Whoever withdraws is left out of later exports: before new use, ask the study whether this one still stands.

SHA-256 of the data set: {manifest["content_hash"]}
"""


def _pairs_made(manifest: Mapping[str, Any]) -> str:
    pairs = manifest["choices"]["pairs"]
    if pairs is None:
        return ""
    made = "the best response over the worst" if pairs == "best-worst" else "every two responses that are not tied"
    return f", then into {manifest['counts']['pairs']} pairs, {made}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
