"""Preference losses, per pair, in nats. Pure torch; log-probabilities are sums over a response's tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
) -> Tensor:
    """DPO loss of each preference pair (Rafailov et al. 2023, arXiv:2305.18290, eq. 7).

    Args:
        policy_chosen_logps, ...: summed log-probability of each response, in nats. Shape: (batch,)
        beta: strength of the KL penalty, > 0.

    Returns:
        -log sigmoid(beta (h_w - h_l)) in nats, h the log-ratio of policy to reference. Shape: (batch,)

    Raises:
        ValueError: beta is out of range, or the shapes differ.
    """
    _require_beta(beta)
    logps = (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return -logsigmoid(beta * _log_ratio_difference(*logps))


def modpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    margin: Tensor,
    *,
    beta: float,
    primary_weight: float,
) -> Tensor:
    """MODPO loss of each preference pair (Zhou et al. 2024, arXiv:2310.03708).

    Args:
        policy_chosen_logps, ...: summed log-probability of each response, in nats. Shape: (batch,)
        margin: weighted reward difference chosen - rejected of the other criteria. Shape: (batch,)
        beta: strength of the KL penalty, > 0.
        primary_weight: weight of the trained criterion, in (0, 1].

    Returns:
        Loss in nats. Shape: (batch,). With primary_weight 1 and no margin it is the DPO loss.

    Raises:
        ValueError: beta or primary_weight is out of range, or the shapes differ.
    """
    _require_beta(beta)
    if not 0 < primary_weight <= 1:
        raise ValueError(f"primary_weight is {primary_weight}: it must lie in (0, 1]")
    logps = (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    difference = _log_ratio_difference(*logps)
    if margin.shape != difference.shape:
        raise ValueError(f"margin has shape {tuple(margin.shape)}, the log-probabilities {tuple(difference.shape)}")
    # (beta / w_k)(h_w - h_l) - (1 / w_k) m
    return -logsigmoid((beta * difference - margin) / primary_weight)


def joint_dpo_loss(
    policy_chosen_logps: Sequence[Tensor],
    policy_rejected_logps: Sequence[Tensor],
    reference_chosen_logps: Sequence[Tensor],
    reference_rejected_logps: Sequence[Tensor],
    *,
    beta: float,
    weights: Sequence[float],
) -> Tensor:
    """Joint DPO loss of each prompt, whose criteria each bring a pair of their own: one sigmoid of the weighted sum.

    Args:
        policy_chosen_logps, ...: a tensor a criterion, in nats. Shapes: (batch,)
        beta: strength of the KL penalty, > 0.
        weights: a weight a criterion, each >= 0, summing to 1.

    Returns:
        -log sigmoid(sum over k of beta w_k (h_w^k - h_l^k)) in nats. Shape: (batch,)

    Raises:
        ValueError: beta or the weights are out of range, or the lists differ in length or shape.
    """
    _require_beta(beta)
    if not weights or any(weight < 0 for weight in weights) or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"weights are {list(weights)}: each must be >= 0 and their sum 1")
    lists = (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    if any(len(logps) != len(weights) for logps in lists):
        raise ValueError(f"there are {len(weights)} weights, but {[len(logps) for logps in lists]} log-probabilities")
    differences = torch.stack([_log_ratio_difference(*logps) for logps in zip(*lists, strict=True)])  # (K, batch)
    scale = beta * torch.tensor(weights, dtype=differences.dtype, device=differences.device)
    return -logsigmoid(scale @ differences)


def _log_ratio_difference(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor
) -> Tensor:
    """h_w - h_l. Shape: (batch,)"""
    shapes = {tuple(t.shape) for t in (policy_chosen, policy_rejected, reference_chosen, reference_rejected)}
    if len(shapes) > 1:
        raise ValueError(f"the log-probabilities differ in shape: {sorted(shapes)}")
    return (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)


def _require_beta(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta is {beta}: it must be > 0")
