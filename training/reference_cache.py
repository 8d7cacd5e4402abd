"""Reference log-probabilities by content, so that runs on the same pairs, such as a sweep over weights, pay once."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from transformers import PreTrainedModel

# Where a model lies, and what wrote its settings down.
NOT_CONTENT = {"_name_or_path", "transformers_version"}


class ReferenceCache:
    """A file of log-probabilities in nats. A key holds model, settings included, and each token: it cannot go stale."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        with closing(self._connect()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS logps (key TEXT PRIMARY KEY, logp REAL NOT NULL)")

    def get(self, keys: Iterable[str]) -> dict[str, float]:
        """Those of the keys that are known."""
        with closing(self._connect()) as connection:
            rows = (connection.execute("SELECT key, logp FROM logps WHERE key = ?", [key]).fetchone() for key in keys)
            return {row[0]: row[1] for row in rows if row is not None}

    def put(self, logps: Mapping[str, float]) -> None:
        with closing(self._connect()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", list(logps.items()))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)


def model_hash(model: PreTrainedModel) -> str:
    """SHA-256 over a model's settings, the names, types and values of its parameters, and the device that computes."""
    settings = {key: value for key, value in model.config.to_diff_dict().items() if key not in NOT_CONTENT}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {parameter.dtype} {parameter.device.type}".encode())
        # Of weights in 4 bits the scales are kept beside them.
        state = getattr(parameter, "quant_state", None)
        for tensor in (parameter, *(state.as_dict(packed=True).values() if state else ())):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def logp_key(model: str, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> str:
    text = f"{model}|{','.join(map(str, prompt_ids))}|{','.join(map(str, response_ids))}"
    return hashlib.sha256(text.encode()).hexdigest()
