"""The reproduction of the paper on tiny models, what it refuses, and its arithmetic."""

import io
import itertools
import json

import pandas as pd
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotation.errors import InputError, StudyError
from annotation.models import Prompt, Rater, Split, Study, StudyStatus, Verdict
from evaluation.charts import Plane
from evaluation.figures import draw, figure_of
from evaluation.paper import PHASE_1, PHASE_2, Expectation
from evaluation.paper_systems import PHASES, SCALES, parse_seeds, recipe_options
from evaluation.paper_table import compare, mcnemar_tests
from evaluation.reproduction import Job, Reproduction, is_finished, plane
from evaluation.scorer_prompts import give_scorers_prompts, ranked_prompts
from evaluation.steps import Procedure
from evaluation.win_rates import pair_outcomes, win_rates
from tests.factories import (
    make_participant,
    make_prompt,
    make_ranking,
    make_response,
    make_study,
    make_system,
    make_task,
)
from tests.training.conftest import text, tiny_encoder, tiny_policy  # noqa: F401
from training.models import PreferenceDataset, Run, RunKind, RunStatus

GOOD = {"empathy": "kind kind hear", "safety": "tell tell help"}
BAD = {"empathy": "stop stop away", "safety": "alone alone go"}


def ranked_study(*, train=9, test=3, criteria=("empathy", "safety"), **fields):
    """Prompts with four responses, all mixtures of kind or not and safe or not, ranked by a simulated participant."""
    study = make_study(criteria=criteria, **fields)
    people, rater = make_system(study, name="people"), make_participant(study, simulated=True).rater
    for number in range(train + test):
        split = Split.TRAIN if number < train else Split.TEST
        prompt = make_prompt(study, split=split, text=text(3 * number, 5 + number % 3))
        mixtures = list(itertools.product((GOOD, BAD), repeat=2))
        responses = {
            (kind is GOOD, safe is GOOD): make_response(
                prompt, people, number=place, text=f"{kind['empathy']} {text(number, 4)} {safe['safety']}"
            )
            for place, (kind, safe) in enumerate(mixtures, start=1)
        }
        task = make_task(rater, prompt)
        for criterion in study.criteria.all():
            first = 1 if criterion.key == "safety" else 0
            best = sorted(responses, key=lambda mix: (not mix[first], not mix[1 - first]))
            make_ranking(task, criterion, [responses[mix] for mix in best])
    return study


def reproduce(study, folder, policy, encoder, *options):
    out = io.StringIO()
    models = (f"--model={policy}", f"--encoder={encoder}", f"--output={folder}")
    call_command("reproduce_paper", f"--study={study.slug}", *models, *options, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def make_dataset(study):
    return PreferenceDataset.objects.create(
        study=study,
        criterion=study.criteria.first(),
        filters={"split": Split.TRAIN},
        content_hash="0" * 64,
        path="nowhere",
        pairs=1,
        rankings=1,
    )


@pytest.mark.django_db
def test_phase_1_from_rankings_to_the_table_beside_the_papers(tmp_path, settings, tiny_policy, tiny_encoder):  # noqa: F811
    settings.VAR_DIR = tmp_path / "var"
    study = ranked_study()
    options = ("--phase=1", "--seed=1", "--json")
    result = json.loads(reproduce(study, tmp_path / "out", tiny_policy, tiny_encoder, *options))

    trained = [system.name for system in PHASES[1].systems]
    assert sorted(result["systems"]) == sorted(trained)
    assert result["criteria"] == ["empathy", "safety"]
    assert set(result["win_rates"]["MODPO"]["safety"]) == {"value", "low", "high", "n", "reason"}
    assert len(result["pairs"]) == 21 * 2
    assert len(result["mcnemar"]) == 6 * 2
    assert result["prompts"] == {"train": 6, "scorer": 3, "test": 3}
    assert "simulated participants" in result["label"]
    assert result["agreement"]["reason"] == "no clinician has compared systems of this study"
    assert all(set(found["held"]) == {"1"} for found in result["expectations"])
    assert {"seed 1: MODPO", "seed 1: reward of safety"} <= set(result["seconds"])
    assert result == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [(tmp_path / "out" / f"safety-empathy.{kind}").stat().st_size > 0 for kind in ("svg", "pdf")]

    prefix = f"{study.slug}-paper-s1-"
    runs = {run.name.removeprefix(prefix): run for run in Run.objects.filter(name__startswith=prefix)}
    alike = {runs[key].config["learning_rate"] for key in ("dpo-empathy", "dpo-safety", "joint-loss-dpo", "modpo")}
    assert alike == {1e-4}
    assert set(runs["dpo-soup"].parents.all()) == {runs["dpo-empathy"], runs["dpo-safety"]}
    assert set(runs["modpo"].parents.all()) == {runs["reward-safety"]}
    assert {runs[f"generate-{system.key}"].config["seed"] for system in PHASES[1].systems} == {1}
    assert runs["scorer-safety"].config["seed"] != runs["reward-safety"].config["seed"]
    learned = {run.datasets.get().filters["split"] for key, run in runs.items() if key.startswith("scorer")}
    assert learned == {Split.SCORER}

    before, verdicts = Run.objects.count(), Verdict.objects.count()
    printed = reproduce(study, tmp_path / "out", tiny_policy, tiny_encoder, "--phase=1", "--seed=1")
    assert (Run.objects.count(), Verdict.objects.count()) == (before, verdicts)
    for part in ("77.6%", "about 23.0%", "not trained", "simulated participants", "McNemar", "is highest on empathy: "):
        assert part in printed

    with pytest.raises(CommandError, match=r"was made with model .* give this reproduction another --name"):
        reproduce(study, tmp_path / "out", tiny_encoder, tiny_encoder, "--phase=1", "--seed=1")


def votes(criterion, labels):
    """A frame of majorities from {(A, B): labels by prompt}."""
    return pd.DataFrame(
        {"prompt": f"p{number:02d}", "system_a": a, "system_b": b, "criterion": criterion, "label": label}
        for (a, b), given in labels.items()
        for number, label in enumerate(given)
    )


WON = ["A"] * 9 + ["B"]


def test_mcnemar_is_seen_from_the_focus_with_ties_in_sight_and_holm_over_all_tests():
    labels = {("Base", "MODPO"): ["B"] * 8 + ["tie"] * 2, ("MODPO", "SFT"): ["A"] * 6 + ["B"] * 4, ("Base", "SFT"): WON}
    tests = mcnemar_tests(pair_outcomes(votes("empathy", labels)), "MODPO")
    assert [(test.other, test.wins, test.ties, test.losses) for test in tests] == [("Base", 8, 2, 0), ("SFT", 6, 0, 4)]
    # Exact: 2 / 2^8, and 2 (210 + 120 + 45 + 10 + 1) / 2^10. Holm: the smaller twice, the larger as it is.
    assert [test.p for test in tests] == pytest.approx([2 / 2**8, 772 / 2**10])
    assert [test.p_holm for test in tests] == pytest.approx([4 / 2**8, 772 / 2**10])


def test_over_seeds_the_win_rate_is_the_mean_and_prompts_are_resampled_with_all_their_seeds():
    frames = {
        0: votes("empathy", {("MODPO", "Base"): WON}),
        1: votes("empathy", {("MODPO", "Base"): WON[:5] + ["B"] * 5}),
    }
    found = compare(frames, PHASE_1, ["empathy"], "toys")
    assert found.together["MODPO"]["empathy"].value == pytest.approx(0.7)
    # Ten prompts, though each was answered twice.
    assert found.together["MODPO"]["empathy"].n == 10
    spread = found.spread()["MODPO"]["empathy"]
    assert spread == {"lowest": 0.5, "highest": 0.9, "deviation": pytest.approx(0.2828427)}
    # The same answers under another seed teach nothing about other prompts: the interval stays what it was.
    once = win_rates(frames[0])["MODPO"]["empathy"]
    twice = compare({0: frames[0], 1: frames[0]}, PHASE_1, ["empathy"], "toys").together["MODPO"]["empathy"]
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))


@pytest.mark.parametrize(
    ("rates", "held"),
    [
        ({"MODPO": 0.7, "Base": 0.2, "SFT": 0.6}, True),
        ({"MODPO": 0.6, "Base": 0.2, "SFT": 0.6}, False),
        ({"MODPO": 0.7, "Base": 0.2}, None),
        ({"MODPO": 0.7, "Base": 0.2, "SFT": None}, None),
    ],
)
def test_an_expectation_holds_only_where_every_system_named_lies_below(rates, held):
    expected = Expectation(system="MODPO", criterion="empathy", above=("Base", "SFT"))
    assert expected.holds({name: {"empathy": rate} for name, rate in rates.items()}) is held


def test_the_papers_own_figures_have_the_papers_shape():
    for table in (PHASE_1, PHASE_2):
        rates = {name: {key: rate.value for key, rate in row.items()} for name, row in table.win_rates.items()}
        assert all(expected.holds(rates) for expected in table.expectations)


def test_statements_are_computed_from_what_was_judged():
    up = votes("empathy", {("MODPO", name): WON for name in ("Base", "SFT-empathy", "DPO-soup")})
    down = up.assign(label=up["label"].map({"A": "B", "B": "A"}))
    text = compare({0: up, 1: down, 2: up}, PHASE_1, ["empathy"], "toys").text()
    assert "MODPO is above Base, SFT-empathy and DPO-soup on empathy: in 2 of 3 seeds; over all seeds: yes" in text
    assert "MODPO is above DPO-empathy on safety: cannot be said" in text
    assert "safety is not among our criteria" in text
    assert "DPO-empathy is highest on empathy: cannot be said" in text


def test_the_figure_names_every_system_and_draws_the_papers_hollow():
    frame = pd.concat(votes(key, {("Base", "MODPO"): WON}) for key in ("empathy", "safety"))
    data = plane(compare({0: frame}, PHASE_1, ["empathy", "safety"], "simulated participants"), "empathy", "safety")
    assert isinstance(data, Plane)
    (axes,) = figure_of(data).axes
    texts = [found.get_text() for found in axes.texts]
    assert {"Base", "MODPO", "Base (paper)", "GPT-4o (paper)", "MODPO (paper)"} <= set(texts)
    assert "simulated participants" in axes.get_xlabel()
    fills = {line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"}
    assert len(fills) == 2
    assert draw(data) == draw(data)
    assert draw(data, kind="pdf").startswith(b"%PDF")


@pytest.mark.django_db
def test_scorers_get_a_third_of_the_ranked_train_prompts_once():
    study = ranked_study(train=12)
    unranked = make_prompt(study)
    assert give_scorers_prompts(study, ["empathy", "safety"]) == 4
    assert give_scorers_prompts(study, ["empathy", "safety"]) == 0
    assert ranked_prompts(study, ["empathy"], Split.TRAIN).count() == 8
    assert ranked_prompts(study, ["empathy"], Split.SCORER).count() == 4
    unranked.refresh_from_db()
    assert unranked.split == Split.TRAIN
    event = study.auditevent_set.get(action="prompts.scorer")
    assert len(event.new["prompts"]) == 4


@pytest.mark.django_db
def test_a_prompt_the_study_has_twice_teaches_no_scorer():
    study = ranked_study(train=12)
    first, second = study.prompts.filter(split=Split.TRAIN)[:2]
    Prompt.objects.filter(pk=second.pk).update(text=first.text)
    give_scorers_prompts(study, ["empathy"])
    assert set(study.prompts.filter(text=first.text).values_list("split", flat=True)) == {Split.TRAIN}


@pytest.mark.django_db
def test_too_few_prompts_for_scorers_are_refused_and_nothing_moves():
    study = ranked_study(train=4)
    with pytest.raises(StudyError, match=r"4 train prompts .* 6 are needed"):
        give_scorers_prompts(study, ["empathy", "safety"])
    assert not study.prompts.filter(split=Split.SCORER).exists()


@pytest.mark.django_db
def test_prompts_that_taught_a_policy_are_no_longer_given_to_scorers():
    study = ranked_study()
    dataset = make_dataset(study)
    Run.objects.create(name="older", kind=RunKind.DPO, status=RunStatus.DONE).datasets.add(dataset)
    with pytest.raises(StudyError, match="run older has learned from its train prompts"):
        give_scorers_prompts(study, ["empathy"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("phase", "fields", "message"),
    [
        (1, {"criteria": ("empathy",)}, "no train prompts ranked on safety: phase 1"),
        (2, {"criteria": ("empathy", "safety")}, "ranked on active_listening, .*trust_rapport"),
        (1, {"test": 1}, "fewer than 2 test prompts"),
    ],
)
def test_a_study_that_lacks_what_a_phase_needs_is_refused_in_one_line(tmp_path, phase, fields, message):
    study = ranked_study(**fields)
    with pytest.raises(CommandError, match=message) as caught:
        reproduce(study, tmp_path / "out", "none", "none", f"--phase={phase}")
    assert "\n" not in str(caught.value)
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_phase_2_leaves_out_the_systems_whose_criteria_nobody_ranked(tmp_path):
    study = ranked_study(criteria=(*PHASES[2].judged[:6], "overall_preference"))
    job = Job(phase=2, seeds=[0], scale=SCALES["cpu"], study=study.slug)
    reproduction = Reproduction(say=print, folder=tmp_path, job=job)
    reproduction.check()
    assert [system.name for system in reproduction.systems] == ["Base", "MODPO-Survey4", "MODPO-Survey"]
    command = next(step.command for step in reproduction.policies(0) if step.name == "seed 0: MODPO-Survey4")
    assert f"safety={study.slug}-paper-s0-reward-safety" in command
    assert not any("active_listening" in word for word in command)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("option", "message"), [("--seed=-1", "--seed -1: it must be 0"), (f"--name={'x' * 51}", "at most 50 fit")]
)
def test_options_that_cannot_be_are_refused_before_anything_is_made(tmp_path, option, message):
    with pytest.raises(CommandError, match=message):
        call_command("reproduce_paper", "--phase=1", option, f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.mark.django_db
def test_a_study_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CommandError, match="--study nowhere: there is no such study"):
        call_command("reproduce_paper", "--phase=1", "--study=nowhere", f"--output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.mark.django_db
def test_a_locked_study_is_refused_before_anything_is_trained(tmp_path):
    study = ranked_study()
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    with pytest.raises(CommandError, match="is locked, so that no system can respond"):
        reproduce(study, tmp_path / "out", "none", "none", "--phase=1")
    assert not study.prompts.filter(split=Split.SCORER).exists()


@pytest.mark.django_db
def test_the_demonstrations_content_becomes_a_study_that_nobody_can_join(tmp_path):
    scale = SCALES["cpu"].with_models(policy="elsewhere/policy", reward="elsewhere/encoder", scorer=None)
    reproduction = Reproduction(say=print, folder=tmp_path, job=Job(phase=1, seeds=[0], scale=scale))
    for _ in range(2):
        reproduction.carry_out(reproduction.preparation())
        reproduction.check()
    study = Study.objects.get(slug="paper")
    assert study.status == StudyStatus.CLOSED
    assert {split: study.prompts.filter(split=split).count() for split in Split.values} == {
        "train": 36,
        "scorer": 16,
        "test": 20,
        "calibration": 0,
    }
    assert set(reproduction.seconds) == {"study", "simulated participants"}


@pytest.mark.parametrize("text", ["", "0,0", "0,x", "-1", "0 1"])
def test_seeds_are_different_whole_numbers(text):
    with pytest.raises(InputError, match="write different whole numbers"):
        parse_seeds(text)
    assert parse_seeds("2, 0") == (2, 0)


def test_every_preference_method_learns_by_the_same_recipe():
    scale = SCALES["cpu"].with_models(policy="p", reward="r", scorer=None)
    recipes = {scale.of_policy(system, 3) for system in PHASES[1].systems if system.recipe == "preference"}
    (recipe,) = recipes
    assert (recipe.model, recipe.seed, scale.scorer.model) == ("p", 3, "r")
    options = {"--model=p", "--seed=3", "--learning-rate=0.0001", "--epochs=3.0", "--recipe=cpu"}
    assert set(recipe_options(recipe, scale)) == options


@pytest.mark.django_db
def test_a_finished_run_counts_only_with_the_same_settings():
    run = Run.objects.create(name="one", kind=RunKind.DPO, status=RunStatus.DONE, config={"seed": 0, "beta": 0.1})
    assert is_finished("one", {"seed": 0})
    assert not is_finished("two", {})
    with pytest.raises(InputError, match=r"run one was made with beta 0.1, not 0.2"):
        is_finished("one", {"seed": 0, "beta": 0.2})
    run.status = RunStatus.RUNNING
    run.save()
    assert not is_finished("one", {"seed": 0})


@pytest.mark.django_db
def test_a_run_that_learned_from_someone_who_withdrew_is_not_counted_on():
    study = make_study()
    rater = make_participant(study).rater
    run = Run.objects.create(name="one", kind=RunKind.DPO, status=RunStatus.DONE)
    run.datasets.add(make_dataset(study))
    run.datasets.get().raters.add(rater)
    assert is_finished("one", {})
    Rater.objects.filter(pk=rater.pk).update(withdrawn_at=timezone.now())
    with pytest.raises(InputError, match="run one learned from someone who has withdrawn"):
        is_finished("one", {})


@pytest.mark.django_db
def test_two_processes_keep_each_others_seconds(tmp_path):
    one, other = (Procedure(say=print, folder=tmp_path) for _ in range(2))
    one.timed("first", "check")
    other.timed("second", "check")
    one.timed("first", "check")
    assert set(one.kept("seconds.json")) == {"first", "second"}
