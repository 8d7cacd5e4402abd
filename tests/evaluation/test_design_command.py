import json

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command

from annotation.models import Assignment, Comparison, JudgingDesign, Split
from evaluation.design_precision import expectations
from tests.factories import make_clinician, make_prompt, make_response, make_study, make_system

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.fixture
def study():
    study = make_study(slug="pilot")
    systems = [make_system(study, name=name) for name in ("base", "modpo")]
    for index in range(20):
        prompt = make_prompt(study, split=Split.TEST, risk=index < 4, text="word " * (index + 1))
        for system in systems:
            make_response(prompt, system)
    return study


def design(**options):
    asked = {"study": "pilot", "name": "main", "prompts": 10, **options}
    systems = [f"--system={name}" for name in asked.pop("system", ["base", "modpo"])]
    call_command("design_clinician_study", *systems, **asked)


def test_the_command_tells_strata_workload_and_precision_and_what_comes_next(study, capsys):
    for _ in range(4):
        make_clinician(study)
    design(raters_per_pair=2, repeated_pairs=2)
    out = capsys.readouterr().out
    assert out.startswith(
        "Design main of study pilot: 10 prompts, 10 pairs of base, modpo, 0 to practise on, seed 42\n"
    )
    for part in ("risk, short", "Clinicians a pair: 2.", "Assumed: 45% for A, 15% ties", "Krippendorff alpha"):
        assert part in out
    assert out.splitlines()[-1] == "Hidden until: manage.py open_clinician_study --study pilot --name main"
    assert Assignment.objects.count() == 4 * (5 + 2)
    call_command("open_clinician_study", study="pilot", name="main")
    assert capsys.readouterr().out.splitlines()[-1] == "design main is open: 10 pairs, 4 clinicians"


def test_opening_tells_first_how_precise_it_will_be_and_what_tells_the_writer(study, capsys):
    study.systems.get(name="base").responses.update(text="I am a language model trained by OpenAI.")
    make_clinician(study)
    design()
    for _ in range(3):
        make_clinician(study)
    capsys.readouterr()
    call_command("open_clinician_study", study="pilot", name="main", dry_run=True)
    dry = capsys.readouterr().out.splitlines()
    assert dry[0].startswith("To expect of a pair of systems with 4 clinicians in all")
    assert "Responses that say who or what wrote them: 10 of 20." in dry
    assert dry[-1] == "design main would open (a dry run): 10 pairs, 4 clinicians"
    assert JudgingDesign.objects.get().opened_at is None
    assert Assignment.objects.count() == 10
    call_command("open_clinician_study", study="pilot", name="main")
    assert capsys.readouterr().out.splitlines()[:-1] == dry[:-1]
    assert JudgingDesign.objects.get().opened_at


def test_a_dry_run_tells_the_same_and_stores_nothing(study, capsys):
    make_clinician(study)
    design(dry_run=True)
    dry = capsys.readouterr().out
    assert not JudgingDesign.objects.exists()
    assert not Comparison.objects.exists()
    design()
    assert capsys.readouterr().out.splitlines()[:-1] == dry.splitlines()[:-1]


def test_json_holds_design_summary_and_precision(study, capsys):
    design(json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["design"]["systems"] == ["base", "modpo"]
    assert sum(drawn for _, _, drawn in told["summary"]["strata"]) == told["summary"]["pairs"] == 10
    assert told["summary"]["workloads"] == []
    (chosen,) = (row for row in told["precision"] if row["chosen"])
    assert (chosen["items"], chosen["per_item"]) == (10, 6)
    assert set(chosen["win_rate"]) == {"value", "low", "high", "n", "reason"}
    telltales = told["telltales"]
    assert (telltales["responses"], telltales["telling"], telltales["phrases"]) == (20, 0, [])
    assert told["stored"] is True


def test_phrases_that_name_the_writer_are_told(study, capsys):
    study.systems.get(name="base").responses.update(text="I am a language model trained by OpenAI.")
    design()
    out = capsys.readouterr().out
    assert "Responses that say who or what wrote them: 10 of 20.\n" in out
    assert "openai" in out


def test_an_unopened_design_can_be_replaced_and_an_open_one_cannot(study):
    make_clinician(study)
    design(prompts=15)
    design(replace=True)
    assert JudgingDesign.objects.get().comparisons.count() == 10
    call_command("open_clinician_study", study="pilot", name="main")
    with pytest.raises(CommandError, match="is open"):
        design(replace=True)


def test_a_replacement_that_cannot_be_drawn_leaves_the_design_as_it_was(study):
    design()
    before = list(Comparison.objects.values_list("pk", "design"))
    with pytest.raises(CommandError, match="20 test prompts"):
        design(prompts=21, replace=True)
    assert list(Comparison.objects.values_list("pk", "design")) == before


def test_the_commands_say_what_is_wrong(study, tmp_path):
    def refused(match, **options):
        with pytest.raises(CommandError, match=match):
            design(**options)

    refused("no such study", study="nowhere")
    refused(r"no system 'gpt' \(it has: base, modpo\)", system=["base", "gpt"])
    refused("at least two systems", system=["base", "base"])
    refused("no system 'gpt'", against="gpt")
    refused("No such file", calibration=tmp_path / "none.toml")
    for option, value in (
        ("prompts", 0),
        ("raters_per_pair", 0),
        ("prompts", 2**31),
        ("raters_per_pair", 2**15),
        ("repeated_pairs", 2**15),
        ("seed", 2**31),
    ):
        with pytest.raises(CommandError, match=f"--{option.replace('_', '-')} must be from") as error:
            design(**{option: value})
        assert error.value.returncode == 2
    with pytest.raises(CommandError, match=r"no design 'main' \(it has: none yet\)"):
        call_command("open_clinician_study", study="pilot", name="main")


def test_more_prompts_and_more_clinicians_a_pair_narrow_the_intervals(study):
    design()
    rows = {(r.precision.items, r.precision.per_item): r for r in expectations(JudgingDesign.objects.get(), raters=6)}
    assert set(rows) == {(items, per_item) for items in (5, 10, 20) for per_item in (2, 3, 6)}
    assert [key for key, row in rows.items() if row.chosen] == [(10, 6)]

    def widths(key):
        return [width for _, width in rows[key].cells]

    assert all(more < fewer for more, fewer in zip(widths((20, 6)), widths((5, 6)), strict=True))
    assert widths((10, 6))[1] < widths((10, 2))[1]
