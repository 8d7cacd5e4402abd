"""LoRA adapters as factors: read, combined, cut to a rank, written. No base model is loaded.

To each module an adapter adds (alpha / r) B A. What is combined here are these products: factors set side by side,
[B_1 B_2] with [c_1 A_1; c_2 A_2], give c_1 B_1 A_1 + c_2 B_2 A_2 to the last digit. Averages of A and of B apart
would not: their product has the cross terms B_1 A_2 as well.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from annotation.errors import InputError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt")
# Fields in which adapters may differ from plain LoRA and from each other, as they do not touch the products.
FREE = {
    *("base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version", "inference_mode"),
    *("r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "fan_in_fan_out"),
    *("layers_to_transform", "layers_pattern"),
}
# Of the sine of the angle between two deltas; below it they are parallel.
PARALLEL = 1e-6


@dataclass(frozen=True)
class Factors:
    """B and A of a module. Shapes: (out, rank) and (rank, in)"""

    b: Tensor
    a: Tensor

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def sides(self) -> tuple[int, int]:
        return self.b.shape[0], self.a.shape[1]


@dataclass(frozen=True)
class Adapter:
    """`factors` by module, in fp32 and without the scale alpha / r, which all modules share."""

    name: str
    config: Mapping[str, Any]
    factors: Mapping[str, Factors]

    @property
    def base(self) -> str:
        return str(self.config["base_model_name_or_path"])

    @property
    def rank(self) -> int:
        return int(self.config["r"])

    @property
    def scale(self) -> float:
        return float(self.config["lora_alpha"] / self.config["r"])


@dataclass(frozen=True)
class Merged:
    """`metrics` tell the rank and what was measured of the deltas."""

    config: Mapping[str, Any]
    factors: Mapping[str, Factors]
    metrics: dict[str, Any]


def read_adapter(folder: Path, name: str) -> Adapter:
    """The adapter in a folder.

    Raises:
        InputError: there is none, a file is damaged, it is no plain LoRA, or it holds numbers that are not finite.
    """
    config = _read_config(folder, name)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"adapter {name}: {folder / WEIGHTS} cannot be read: {error}") from error
    adapter = Adapter(name, config, _paired(name, tensors))
    for module, factors in adapter.factors.items():
        if factors.rank != adapter.rank or factors.b.shape[1] != adapter.rank:
            raise InputError(f"adapter {name}: the rank of {module} is not the {adapter.rank} of {CONFIG}")
        if not (factors.a.isfinite().all() and factors.b.isfinite().all()):
            raise InputError(f"adapter {name}: {module} holds numbers that are not finite: train it anew")
    return adapter


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    file = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"adapter {name}: {file} cannot be read: {error}") from error
    if config.get("peft_type") != "LORA":
        raise InputError(f"adapter {name} is of type {config.get('peft_type')}: only LoRA adapters can be merged")
    plain = LoraConfig().to_dict()  # type: ignore[no-untyped-call]
    for field, value in config.items():
        if field not in FREE and value and value != plain.get(field):
            raise InputError(f"adapter {name} has {field} {json.dumps(value)}: only plain LoRA can be merged exactly")
    if not all(config.get(field) for field in ("base_model_name_or_path", "r", "lora_alpha")):
        raise InputError(f"adapter {name}: {file} lacks base_model_name_or_path, r or lora_alpha")
    return config


def _paired(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Factors]:
    modules = sorted({key.rpartition(".lora_")[0] for key in tensors if ".lora_" in key})
    wanted = {f"{module}.lora_{side}.weight" for module in modules for side in "AB"}
    if not modules or tensors.keys() != wanted:
        odd = min(tensors.keys() ^ wanted, default="nothing at all")
        raise InputError(f"adapter {name}: {WEIGHTS} must hold lora_A and lora_B of each module, no more; see {odd}")
    return {
        module: Factors(tensors[f"{module}.lora_B.weight"].float(), tensors[f"{module}.lora_A.weight"].float())
        for module in modules
    }


def merge(adapters: Sequence[Adapter], weights: Sequence[float], *, method: str, rank: int | None = None) -> Merged:
    """Adapters as one, by `cat` (the weighted sum of the deltas), `svd` (the closest to it of a rank) or `slerp`.

    `slerp` goes along the arc between the two deltas of each module (Shoemake 1985), the second's weight of the way.
    Without a rank, `svd` keeps the largest of the adapters and the others add the ranks up, which is exact.

    Raises:
        InputError: the adapters do not go together, or the method does not go with them or with the rank.
    """
    require_alike(adapters)
    _require_method(adapters, method, rank)
    if method == "slerp":
        angles = {module: _angle(*adapters, module=module) for module in adapters[0].factors}
        factors = _combined(adapters, lambda module: arc(angles[module], weights[1]))
        metrics = {"mean_angle_degrees": math.degrees(sum(angles.values()) / len(angles))}
    else:
        factors, metrics = _combined(adapters, lambda module: weights), {}
    if method == "svd":
        rank = rank or max(adapter.rank for adapter in adapters)
    if rank:
        factors, errors = cut(factors, rank)
        metrics |= errors
    rank = next(iter(factors.values())).rank
    alpha = adapters[0].scale * rank
    config = {**adapters[0].config, "r": rank, "lora_alpha": int(alpha) if alpha == int(alpha) else alpha}
    return Merged(config, factors, {"rank": rank, "modules": len(factors), **metrics})


def require_alike(adapters: Sequence[Adapter]) -> None:
    """Check that adapters can be combined.

    Raises:
        InputError: two of them differ in base model, alpha / r, modules or shapes.
    """
    first = adapters[0]
    for other in adapters[1:]:
        names = f"adapters {first.name} and {other.name}"
        if other.base != first.base:
            raise InputError(f"{names} are of two base models, {first.base} and {other.base}")
        if other.factors.keys() != first.factors.keys():
            module = min(first.factors.keys() ^ other.factors.keys())
            raise InputError(f"{names} have other target modules: {module} is in one of them only")
        if not math.isclose(other.scale, first.scale):
            raise InputError(f"{names} have another alpha/r, {first.scale:g} and {other.scale:g}")
        for module, factors in first.factors.items():
            if other.factors[module].sides != factors.sides:
                raise InputError(f"{names} have another shape at {module}: their base models cannot be the same")


def _require_method(adapters: Sequence[Adapter], method: str, rank: int | None) -> None:
    if method == "linear":
        raise InputError(
            "--method linear would sum the factors A and B apart, and the product of the sums is not the sum of the "
            "products BA: take cat, which is exact, or svd, which keeps the rank"
        )
    if method == "slerp" and len(adapters) != 2:
        raise InputError(f"--method slerp goes between two adapters, not {len(adapters)}")
    if method == "cat" and rank:
        raise InputError("--rank: cat keeps everything and the ranks add up; --method svd cuts it to a rank")
    together = sum(adapter.rank for adapter in adapters)
    if rank is not None and not 1 <= rank <= together:
        raise InputError(f"--rank {rank}: it must lie between 1 and {together}, the ranks of the adapters together")


def _combined(adapters: Sequence[Adapter], coefficients: Callable[[str], Sequence[float]]) -> dict[str, Factors]:
    """The sum of coefficient x delta over the adapters, module by module. Those with no part in any are left out."""
    of_module = {module: coefficients(module) for module in adapters[0].factors}
    taking_part = [i for i in range(len(adapters)) if any(shares[i] for shares in of_module.values())]
    return {
        module: Factors(
            torch.cat([adapters[i].factors[module].b for i in taking_part], dim=1),
            torch.cat([shares[i] * adapters[i].factors[module].a for i in taking_part], dim=0),
        )
        for module, shares in of_module.items()
    }


def _angle(first: Adapter, second: Adapter, *, module: str) -> float:
    """Between two deltas seen as vectors, in radians; 0 where one is nothing.

    Raises:
        InputError: they point in opposite directions, and no arc between them is the shortest.
    """
    x, y = first.factors[module], second.factors[module]
    norms = math.sqrt(inner(x, x) * inner(y, y))
    cosine = inner(x, y) / norms if norms else 1.0
    angle = math.acos(min(1.0, max(-1.0, cosine)))
    if math.pi - angle < PARALLEL:
        raise InputError(f"--method slerp: at {module} {first.name} and {second.name} are opposite: take cat")
    return angle


def inner(x: Factors, y: Factors) -> float:
    """tr((B_x A_x)' B_y A_y), without forming the products."""
    return float(((x.b.double().T @ y.b.double()) * (x.a.double() @ y.a.double().T)).sum())


def arc(angle: float, way: float) -> tuple[float, float]:
    """Coefficients of two vectors at an angle, for the point on the arc from the first to the second."""
    if math.sin(angle) < PARALLEL:
        return 1 - way, way
    return math.sin((1 - way) * angle) / math.sin(angle), math.sin(way * angle) / math.sin(angle)


def cut(factors: Mapping[str, Factors], rank: int) -> tuple[dict[str, Factors], dict[str, Any]]:
    """The closest deltas of a rank in the Frobenius norm, and how far off they are: by Eckart and Young (1936) the
    root of the sum of squares of the singular values left out, relative to that of all."""
    kept, lost, total = {}, {}, {}
    for module, whole in factors.items():
        left, values, right = _svd(whole)
        padding = (0, max(0, rank - len(values)))
        root = torch.nn.functional.pad(values[:rank].sqrt(), padding)
        u, v = (torch.nn.functional.pad(side[:, :rank], padding) for side in (left, right))
        kept[module] = Factors((u * root).float(), (v * root).T.float())
        lost[module] = float(values[rank:].square().sum())
        total[module] = float(values.square().sum())
    errors = {module: _relative(lost[module], total[module]) for module in kept}
    worst = max(errors, key=lambda module: errors[module])
    overall = _relative(sum(lost.values()), sum(total.values()))
    return kept, {"relative_error": overall, "worst_relative_error": errors[worst], "worst_module": worst}


def _svd(factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """U (out, n), the singular values (n,) and V (in, n) of B A, by way of a matrix no larger than the rank."""
    left, b = torch.linalg.qr(factors.b.double())
    right, a = torch.linalg.qr(factors.a.double().T)
    u, values, v = torch.linalg.svd(b @ a.T, full_matrices=False)
    return left @ u, values, right @ v.T


def _relative(lost: float, total: float) -> float:
    return math.sqrt(lost / total) if total else 0.0


def write_adapter(merged: Merged, folder: Path, *, tokenizer_of: Path) -> None:
    """Files that PEFT loads, and beside them the tokenizer of one of the adapters, where it has one."""
    config = {**merged.config, "inference_mode": True}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    tensors = {}
    for module, factors in merged.factors.items():
        tensors[f"{module}.lora_A.weight"] = factors.a.contiguous()
        tensors[f"{module}.lora_B.weight"] = factors.b.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    for file in (file for pattern in TOKENIZER for file in tokenizer_of.glob(pattern)):
        shutil.copy2(file, folder)
