"""Reference log-probabilities by content, so that runs on the same pairs, such as a sweep over weights, pay once."""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import nn


class ReferenceCache:
    """A file of log-probabilities in nats. A key holds the model's weights and each token, so it cannot go stale."""

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


def model_hash(model: nn.Module) -> str:
    """SHA-256 over the names, types and values of a model's parameters, and the kind of device that computes."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {parameter.dtype} {parameter.device.type}".encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def logp_key(model: str, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> str:
    text = f"{model}|{','.join(map(str, prompt_ids))}|{','.join(map(str, response_ids))}"
    return hashlib.sha256(text.encode()).hexdigest()
