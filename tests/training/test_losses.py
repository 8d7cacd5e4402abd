"""The losses against published formulas computed to 60 digits, their gradients, and the identities between them."""

import json
import math
from pathlib import Path

import pytest
import torch

from training.losses import dpo_loss, joint_dpo_loss, modpo_loss

FILE = Path(__file__).parent.parent / "data" / "modpo_vectors.json"
VECTORS = {vector["id"]: vector for vector in json.loads(FILE.read_text())["vectors"]}
LOGPS = ("policy_chosen_logps", "policy_rejected_logps", "reference_chosen_logps", "reference_rejected_logps")


def tensors(inputs, dtype=torch.float64, names=LOGPS):
    return [torch.tensor(inputs[name], dtype=dtype, requires_grad=name.startswith("policy")) for name in names]


def margins(inputs, dtype):
    primary, weights = inputs["primary_index_k"], inputs["objective_weights"]
    rewards = [torch.tensor(inputs[f"rewards_{side}"], dtype=dtype) for side in ("chosen", "rejected")]  # (batch, K)
    difference = (rewards[0] - rewards[1]).T
    return sum(w * difference[j] for j, w in enumerate(weights) if j != primary), weights[primary]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", VECTORS)
def test_a_loss_and_its_gradients_equal_the_reference_values(name, dtype):
    vector = VECTORS[name]
    inputs, expected = vector["inputs"], vector["expected"]
    logps = tensors(inputs, dtype)
    if vector["loss_type"] == "dpo":
        losses = dpo_loss(*logps, beta=inputs["beta"])
    else:
        margin, weight = margins(inputs, dtype)
        losses = modpo_loss(*logps, margin, beta=inputs["beta"], primary_weight=weight)
    losses.sum().backward()
    precision = str(dtype).removeprefix("torch.")
    close = {"rel": vector[f"rel_tolerance_{precision}"], "abs": 1e-12 if dtype == torch.float64 else 1e-7}
    rows = expected["per_example"]
    assert losses.tolist() == pytest.approx([row["loss"] for row in rows], **close)
    assert losses.mean().item() == pytest.approx(expected["mean_loss"], **close)
    assert logps[0].grad.tolist() == pytest.approx([row["grad_policy_chosen_logp"] for row in rows], **close)
    assert logps[1].grad.tolist() == pytest.approx([row["grad_policy_rejected_logp"] for row in rows], **close)


@pytest.fixture
def logps():
    generator = torch.Generator().manual_seed(0)
    return [-100 * torch.rand(8, generator=generator, dtype=torch.float64) for _ in LOGPS]


def test_modpo_with_all_weight_on_one_criterion_is_dpo_to_the_bit(logps):
    none = torch.zeros(8, dtype=torch.float64)
    assert torch.equal(modpo_loss(*logps, none, beta=0.1, primary_weight=1), dpo_loss(*logps, beta=0.1))


def test_modpo_is_dpo_with_a_larger_beta_after_the_margin_was_added_to_the_reference(logps):
    margin = torch.linspace(-2, 2, 8, dtype=torch.float64)
    shifted = dpo_loss(*logps[:2], logps[2] + margin / 0.1, logps[3], beta=0.1 / 0.4)
    assert torch.allclose(modpo_loss(*logps, margin, beta=0.1, primary_weight=0.4), shifted, rtol=1e-12)


def test_a_larger_margin_asks_more_of_the_policy(logps):
    small, large = (torch.full((8,), value, dtype=torch.float64) for value in (0.0, 1.0))
    loss = [modpo_loss(*logps, margin, beta=0.1, primary_weight=0.5) for margin in (small, large)]
    assert (loss[1] > loss[0]).all()


def test_joint_loss_of_one_criterion_is_dpo(logps):
    joint = joint_dpo_loss(*([tensor] for tensor in logps), beta=0.1, weights=[1.0])
    assert torch.allclose(joint, dpo_loss(*logps, beta=0.1), rtol=1e-12)


def test_joint_loss_is_one_sigmoid_of_the_weighted_sum():
    lists = [[torch.tensor([-10.0]), torch.tensor([-4.0])], [torch.tensor([-12.0]), torch.tensor([-5.0])]]
    reference = [[torch.tensor([-11.0]), torch.tensor([-6.0])], [torch.tensor([-11.5]), torch.tensor([-5.0])]]
    loss = joint_dpo_loss(*lists, *reference, beta=0.1, weights=[0.25, 0.75])
    # 0.1 (0.25 * 1.5 + 0.75 * 2)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.1875)))


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"beta": math.nan}, {"primary_weight": 0.0}, {"primary_weight": 1.1}])
def test_what_lies_out_of_range_is_refused(logps, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        modpo_loss(*logps, torch.zeros(8), **{"beta": 0.1, "primary_weight": 0.5, **wrong})


def test_a_margin_that_would_broadcast_is_refused(logps):
    with pytest.raises(ValueError, match="margin has shape"):
        modpo_loss(*logps, torch.zeros(1), beta=0.1, primary_weight=0.5)
    with pytest.raises(ValueError, match="differ in shape"):
        dpo_loss(logps[0][:1], *logps[1:], beta=0.1)


@pytest.mark.parametrize("weights", [[], [0.5], [0.7, 0.7], [-0.5, 1.5]])
def test_joint_weights_must_sum_to_one(logps, weights):
    with pytest.raises(ValueError, match="weights"):
        joint_dpo_loss(*([tensor, tensor] for tensor in logps), beta=0.1, weights=weights)
