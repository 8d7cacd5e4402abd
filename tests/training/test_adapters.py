"""A merged adapter is what the deltas of its parts come to, and a soup is a run like any other."""

import json
import math
import shutil

import pytest
import torch
from django.core.management import CommandError, call_command

from annotation.errors import InputError
from tests.factories import make_participant, make_study
from tests.training.conftest import command_line
from training.adapters import Adapter, Factors, arc, cut, merge, read_adapter, write_adapter
from training.generation import Generator, Sampling
from training.models import PreferenceDataset, Run, RunKind, RunStatus
from training.runs import RunPlan, recorded_run

IDS = torch.tensor([[5, 6, 7, 8]])


def make_adapter(folder, base, *, seed=0, rank=2, alpha=4, **options):
    """An adapter of the tiny policy with random factors, written by PEFT."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "k_proj", "down_proj"], **options}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=rank, lora_alpha=alpha, **config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1, generator=generator)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def folders(tiny_policy, tmp_path):
    ranks = {"one": 2, "two": 2, "three": 4}
    return {
        name: make_adapter(tmp_path / name, tiny_policy, seed=seed, rank=rank, alpha=2 * rank)
        for seed, (name, rank) in enumerate(ranks.items())
    }


@pytest.fixture
def adapters(folders):
    return [read_adapter(folder, name) for name, folder in folders.items()]


def deltas(adapter):
    scale = adapter.config["lora_alpha"] / adapter.config["r"]
    return {module: scale * (factors.b @ factors.a) for module, factors in adapter.factors.items()}


def weighted(adapters, weights):
    parts = [deltas(adapter) for adapter in adapters]
    return {
        module: sum(weight * part[module] for weight, part in zip(weights, parts, strict=True)) for module in parts[0]
    }


def assert_alike(first, second, tolerance=1e-6):
    assert first.keys() == second.keys()
    for module in first:
        torch.testing.assert_close(first[module], second[module], rtol=0, atol=tolerance)


def test_cat_is_the_weighted_sum_of_the_deltas(adapters):
    weights = [0.2, 0.3, 0.5]
    merged = merge(adapters, weights, method="cat")
    assert_alike(deltas(merged), weighted(adapters, weights))
    assert merged.metrics == {"rank": 8, "modules": 6}
    # The scale stays that of the parts, so that a soup can go into another one.
    assert merged.config["lora_alpha"] / merged.config["r"] == adapters[0].scale == 2


def test_an_adapter_alone_stays_what_it_is(adapters):
    for merged in (merge(adapters[:1], [1.0], method="cat"), merge(adapters[:2], [1.0, 0.0], method="slerp")):
        assert merged.config == adapters[0].config
        for module, factors in adapters[0].factors.items():
            assert torch.equal(merged.factors[module].a, factors.a)
            assert torch.equal(merged.factors[module].b, factors.b)


@pytest.mark.parametrize(("method", "rank"), [("cat", None), ("svd", 3), ("slerp", None), ("slerp", 2)])
def test_the_order_of_the_adapters_does_not_matter(adapters, method, rank):
    first, second, _ = adapters
    there = merge([first, second], [0.3, 0.7], method=method, rank=rank)
    back = merge([second, first], [0.7, 0.3], method=method, rank=rank)
    assert_alike(deltas(there), deltas(back))


def test_svd_is_off_by_the_singular_values_it_leaves_out(adapters):
    weights = [0.2, 0.3, 0.5]
    exact = weighted(adapters, weights)
    merged = merge(adapters, weights, method="svd", rank=3)
    errors, lost, whole = {}, 0.0, 0.0
    for module, delta in deltas(merged).items():
        values = torch.linalg.svdvals(exact[module].double())
        assert torch.linalg.matrix_rank(delta, rtol=1e-5) == 3
        off = torch.linalg.matrix_norm(exact[module] - delta).item()
        assert off == pytest.approx(values[3:].norm().item(), rel=1e-5)
        errors[module] = off / values.norm().item()
        lost, whole = lost + off**2, whole + values.norm().item() ** 2
    assert merged.metrics["relative_error"] == pytest.approx(math.sqrt(lost / whole), rel=1e-4)
    assert merged.metrics["worst_relative_error"] == pytest.approx(max(errors.values()), rel=1e-4)
    assert errors[merged.metrics["worst_module"]] == max(errors.values())
    assert merged.metrics["rank"] == 3


def test_svd_keeps_the_largest_rank_by_default_and_all_that_fits(adapters):
    assert merge(adapters, [0.2, 0.3, 0.5], method="svd").metrics["rank"] == 4
    whole = merge(adapters, [0.2, 0.3, 0.5], method="svd", rank=8)
    assert whole.metrics["relative_error"] < 1e-7
    assert_alike(deltas(whole), weighted(adapters, [0.2, 0.3, 0.5]))
    # A rank above the sides of a small module: what is missing is nothing.
    wide, error = cut({"m": adapters[0].factors["base_model.model.model.layers.0.self_attn.k_proj"]}, 40)
    assert wide["m"].rank == 40
    assert error["relative_error"] == 0


def test_an_untrained_adapter_merges_without_dividing_by_nothing(adapters):
    for factors in adapters[0].factors.values():
        factors.b.zero_()
    assert merge(adapters[:1], [1.0], method="svd").metrics["relative_error"] == 0
    half = merge(adapters[:2], [0.5, 0.5], method="slerp")
    assert_alike(deltas(half), weighted(adapters[1:2], [0.5]))


def test_slerp_goes_from_one_adapter_to_the_other_along_the_arc(adapters):
    first, second, _ = adapters
    assert_alike(deltas(merge([first, second], [1.0, 0.0], method="slerp")), deltas(first))
    assert_alike(deltas(merge([first, second], [0.0, 1.0], method="slerp")), deltas(second))
    half = deltas(merge([first, second], [0.5, 0.5], method="slerp"))
    for module, delta in half.items():
        x, y, middle = (d.double().flatten() for d in (deltas(first)[module], deltas(second)[module], delta))
        angle = torch.acos(x @ y / (x.norm() * y.norm()))
        # Half way the formula is the sum of both over 2 cos(angle / 2).
        torch.testing.assert_close(middle, (x + y) / (2 * torch.cos(angle / 2)), rtol=0, atol=1e-6)


def test_the_arc_of_unit_vectors_stays_on_the_sphere_at_an_even_speed():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(1.2), math.sin(1.2)])
    for way in (0.0, 0.25, 0.5, 1.0):
        a, b = arc(1.2, way)
        expected = torch.tensor([math.cos(1.2 * way), math.sin(1.2 * way)])
        torch.testing.assert_close(a * x + b * y, expected)
    assert arc(0.0, 0.3) == (0.7, 0.3)


def test_the_same_adapter_under_another_name_is_parallel_and_its_negative_is_refused(adapters):
    same = merge([adapters[0], adapters[0]], [0.5, 0.5], method="slerp")
    assert_alike(deltas(same), deltas(adapters[0]))
    opposite = copied(adapters[0])
    for factors in opposite.factors.values():
        factors.b.neg_()
    with pytest.raises(InputError, match="are opposite: take cat"):
        merge([adapters[0], opposite], [0.5, 0.5], method="slerp")


def copied(adapter):
    return Adapter(
        "copy", adapter.config, {name: Factors(f.b.clone(), f.a.clone()) for name, f in adapter.factors.items()}
    )


def test_what_is_written_loads_with_plain_peft_and_adds_the_deltas(adapters, folders, tiny_policy, tmp_path):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    weights = [0.2, 0.3, 0.5]
    (tmp_path / "soup").mkdir()
    write_adapter(merge(adapters, weights, method="cat"), tmp_path / "soup", tokenizer_of=folders["one"])
    by_hand = AutoModelForCausalLM.from_pretrained(tiny_policy)
    before = by_hand(IDS).logits
    with torch.no_grad():
        for module, delta in weighted(adapters, weights).items():
            by_hand.get_submodule(module.removeprefix("base_model.model.")).weight += delta
        logits = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "soup")(IDS).logits
    torch.testing.assert_close(logits, by_hand(IDS).logits, rtol=0, atol=1e-5)
    assert not torch.allclose(logits, before, atol=1e-3)


def test_pefts_cat_agrees_and_its_linear_is_far_off(adapters, folders, tiny_policy):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_policy), str(folders["one"]), adapter_name="one"
    )
    model.load_adapter(str(folders["two"]), "two")
    exact = weighted(adapters[:2], [0.5, 0.5])
    errors = {}
    for method in ("cat", "linear"):
        model.add_weighted_adapter(["one", "two"], [0.5, 0.5], method, combination_type=method)
        off = whole = 0.0
        for module, delta in exact.items():
            made = model.get_submodule(module).get_delta_weight(method)
            off, whole = off + (made - delta).norm().item() ** 2, whole + delta.norm().item() ** 2
        errors[method] = math.sqrt(off / whole)
    assert errors["cat"] < 1e-6
    assert errors["linear"] > 0.5


@pytest.fixture
def soup(settings, tmp_path, folders):
    settings.VAR_DIR = tmp_path / "var"

    def call(*adapters, **options):
        call_command("merge_adapters", *command_line({"adapter": list(adapters), **options}))

    return call


def record_adapter(name, folder, base, **plan):
    with recorded_run(RunPlan(kind=RunKind.DPO, config={"model": str(base)}, name=name, **plan)) as run:
        for file in folder.iterdir():
            shutil.copy(file, run.folder)
    return run.row


@pytest.fixture
def dataset():
    study = make_study()
    rater = make_participant(study, simulated=True).rater
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash="c0ffee", path="d", pairs=1, rankings=1
    )
    dataset.raters.add(rater)
    return dataset


@pytest.mark.django_db
def test_a_soup_of_runs_keeps_their_model_tokenizer_and_origin(soup, folders, tiny_policy, dataset, capsys):
    for file in tiny_policy.glob("tokenizer*"):
        shutil.copy(file, folders["one"])
    parents = [record_adapter("dpo-one", folders["one"], tiny_policy, datasets=[dataset])]
    parents.append(record_adapter("dpo-two", folders["two"], tiny_policy))
    soup("dpo-one=0.5", f"{parents[1].folder}=0.5", name="soup")
    out = capsys.readouterr().out
    assert out.startswith("soup: 0.5 x dpo-one + 0.5 x ")
    run = Run.objects.get(name="soup")
    assert (run.kind, set(run.parents.all()), run.is_simulated) == (RunKind.MERGE, set(parents), True)
    assert run.config["adapters"] == {"dpo-one": 0.5, str(parents[1].folder): 0.5}
    assert "deltas BA" in run.config["combines"]
    assert (run.folder / "tokenizer.json").is_file()
    assert "a weighted combination of LoRA adapters" in (run.folder / "README.md").read_text()
    generator = Generator(run.config["model"], run.folder)
    assert len(generator.write(["i feel sad"], Sampling(max_new_tokens=4), seed=0)) == 1
    dataset.raters.get().withdraw()
    assert run.is_tainted
    with pytest.raises(CommandError, match="run dpo-one goes back to someone who has withdrawn since"):
        soup("dpo-one=0.5", "dpo-two=0.5", name="again")


@pytest.mark.django_db
def test_folders_are_recorded_by_hash_and_simulated_if_their_record_says_so(soup, folders, tiny_policy, capsys):
    (folders["two"] / "run.json").write_text('{"simulated": true}')
    soup(f"{folders['one']}=0.3", f"{folders['two']}=0.7", name="soup", method="svd", rank=2, json=True)
    told = json.loads(capsys.readouterr().out)
    assert 0 < told["metrics"]["relative_error"] <= told["metrics"]["worst_relative_error"] < 1
    run = Run.objects.get(name="soup")
    record = json.loads((run.folder / "run.json").read_text())
    assert [len(file["sha256"]) for file in record["files"]] == [64, 64]
    assert record["simulated"] is True
    assert run.config["model"] == str(tiny_policy)
    soup("soup=0.5", f"{folders['one']}=0.5", method="slerp", name="slerp")
    assert "by slerp, rank 4; " in capsys.readouterr().out


def damaged(folder, change):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model_name_or_path": "other/model"}, "of two base models, .* and other/model"),
        ({"lora_alpha": 16}, "another alpha/r, 2 and 8"),
        ({"use_dora": True}, "adapter .*two has use_dora true: only plain LoRA"),
        ({"use_rslora": True}, "use_rslora true"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"peft_type": "IA3"}, "of type IA3"),
        ({"r": 0}, "lacks base_model_name_or_path, r or lora_alpha"),
        ({"r": 4, "lora_alpha": 8}, "the rank of .* is not the 4"),
    ],
)
def test_adapters_that_do_not_go_together_are_refused_in_one_line(soup, folders, change, message):
    damaged(folders["two"], change)
    assert_refused(soup, message, f"{folders['one']}=0.5", f"{folders['two']}=0.5")


def assert_refused(soup, message, *adapters, **options):
    with pytest.raises(CommandError, match=message) as caught:
        soup(*adapters, **options)
    assert "\n" not in str(caught.value)
    assert not Run.objects.filter(kind=RunKind.MERGE).exists()


@pytest.mark.django_db
def test_other_modules_and_other_sizes_are_refused(soup, folders, tiny_policy, tmp_path):
    make_adapter(tmp_path / "fewer", tiny_policy, target_modules=["q_proj"])
    assert_refused(soup, "other target modules: .* in one of them", f"{folders['one']}=0.5", f"{tmp_path}/fewer=0.5")
    tensors = load(folders["two"])
    save(folders["two"], {name: tensor[..., :8] if "lora_A" in name else tensor for name, tensor in tensors.items()})
    assert_refused(soup, "another shape at ", f"{folders['one']}=0.5", f"{folders['two']}=0.5")


def load(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def save(folder, tensors):
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")


@pytest.mark.django_db
def test_damaged_files_are_refused(soup, folders):
    parts = f"{folders['one']}=0.5", f"{folders['two']}=0.5"
    weights = folders["two"] / "adapter_model.safetensors"
    whole, tensors = weights.read_bytes(), load(folders["two"])
    weights.write_bytes(whole[:-10])
    assert_refused(soup, "adapter .*two: .*safetensors cannot be read", *parts)
    weights.unlink()
    assert_refused(soup, "cannot be read", *parts)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    save(folders["two"], {**tensors, f"{module}.lora_A.weight": tensors[f"{module}.lora_A.weight"] / 0})
    assert_refused(soup, "q_proj holds numbers that are not finite", *parts)
    save(folders["two"], {**tensors, "base_model.model.lm_head.weight": torch.ones(2)})
    assert_refused(soup, "lora_A and lora_B of each module, no more; see base_model.model.lm_head", *parts)
    (folders["two"] / "adapter_config.json").write_text("{")
    assert_refused(soup, "adapter_config.json cannot be read", *parts)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ((0.5, 0.5), {"method": "linear"}, "the product of the sums is not the sum of the products BA: take cat"),
        ((0.5, 0.6), {}, "sum to 1.1: they must sum to 1"),
        ((1.5, -0.5), {}, "two=-0.5: a weight must be 0 or greater"),
        (("nan", 0.5), {}, "write it as name=number"),
        (("half", 0.5), {}, "write it as name=number"),
        ((0.2, 0.3, 0.5), {"method": "slerp"}, "between two adapters, not 3"),
        ((0.5, 0.5), {"rank": 2}, "cat keeps everything"),
        ((0.5, 0.5), {"rank": 0, "method": "svd"}, "--rank 0: it must lie between 1 and 4"),
        ((0.5, 0.5), {"rank": 5, "method": "svd"}, "--rank 5: it must lie between 1 and 4"),
    ],
)
def test_options_that_make_no_sense_are_refused(soup, folders, weights, options, message):
    parts = [f"{folder}={weight}" for folder, weight in zip(folders.values(), weights, strict=False)]
    assert_refused(soup, message, *parts, **options)


@pytest.mark.django_db
def test_adapters_that_are_not_there_or_come_twice_are_refused(soup, folders, tiny_policy, tmp_path):
    assert_refused(soup, "run nobody: there is no such run", "nobody=1")
    assert_refused(soup, "has a number already", "a=0.5", "a=0.5")
    record_adapter("dpo-one", folders["one"], tiny_policy)
    assert_refused(soup, "the same adapter comes twice", "dpo-one=0.5", f"{tmp_path}/var/runs/dpo-one=0.5")
    (tmp_path / "taken").mkdir()
    assert_refused(soup, "taken exists: runs are never overwritten", "dpo-one=1", output=tmp_path / "taken")
    assert not Run.objects.exclude(status=RunStatus.DONE).exists()
