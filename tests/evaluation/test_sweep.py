"""A sweep over weights on tiny models: what it trains, shares and keeps, whom it lets judge, and what it leaves."""

import csv
import json
import shutil

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError, StudyError
from annotation.models import Response, Split, StudyStatus, System
from evaluation import sweep, sweep_report
from evaluation.figures import draw, figure_of
from evaluation.scorers import prompts_of, require_strangers
from evaluation.sweep import even_weights, lattice, listed_points
from tests.factories import (
    make_participant,
    make_prompt,
    make_ranking,
    make_response,
    make_study,
    make_system,
    make_task,
)
from tests.training.conftest import command_line, text, tiny_encoder, tiny_policy, write_lines  # noqa: F401
from training.models import PreferenceDataset, Reward, Run, RunKind, RunStatus
from training.runs import RunPlan, recorded_run
from training.sources import pairs_of_study

OTHERS = ["safety"]


def rank_prompts(study, split, count, *, start):
    """Prompts of four responses, which the criteria order against each other."""
    rater = make_participant(study, simulated=True).rater
    base = study.systems.filter(name="candidates").first() or make_system(study, name="candidates")
    for number in range(start, start + count):
        prompt = make_prompt(study, split=split, text=text(number, 6 + number % 3), key=f"{split}-{number}")
        for place in range(1, 5):
            words = f"{'kind ' * place}{'stop ' * (4 - place)}{text(3 * number + place, 3 + place)}"
            make_response(prompt, base, number=place, text=words)
        task = make_task(rater, prompt)
        responses = list(prompt.responses.order_by("number"))
        make_ranking(task, study.criterion("empathy"), responses[::-1])
        make_ranking(task, study.criterion("safety"), responses)


@pytest.fixture
def study(settings, tmp_path, db, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings.VAR_DIR = tmp_path / "var"
    study = make_study(slug="steered")
    rank_prompts(study, Split.TRAIN, 5, start=0)
    rank_prompts(study, Split.SCORER, 3, start=10)
    for number in range(20, 26):
        make_prompt(study, split=Split.TEST, text=text(number, 7), key=f"test-{number}")
    return study


@pytest.fixture
def reward_models(study, tiny_encoder):  # noqa: F811
    def train(key, split):
        options = {"study": study.slug, "criterion": key, "split": split, "name": f"{split}-{key}"}
        options |= {"model": str(tiny_encoder), "max_length": 64, "epochs": 1.0, "learning_rate": 1e-2}
        call_command("train_reward_model", *command_line(options))
        return Run.objects.get(name=f"{split}-{key}")

    return [train("safety", "train"), train("empathy", "scorer"), train("safety", "scorer")]


@pytest.fixture
def sweep_modpo(study, tiny_policy):  # noqa: F811
    def call(**changes):
        options = {
            "study": study.slug,
            "primary": "empathy",
            "criterion": "safety",
            "weights": "1,0.5",
            "name": "s",
            "model": str(tiny_policy),
            "epochs": 1.0,
            "max_length": 64,
            "rank": 2,
            "learning_rate": 1e-2,
            "max_new_tokens": 8,
            "generation_batch": 4,
            **changes,
        }
        call_command("sweep_modpo", *command_line(options))

    return call


def test_a_sweep_trains_compares_and_records_every_point(sweep_modpo, reward_models, study, capsys):
    sweep_modpo(json=True, floor="safety=0.0")
    printed = json.loads(capsys.readouterr().out)
    run = Run.objects.get(name="s")
    policies = [Run.objects.get(name=f"s-empathy{weights}") for weights in ("1-safety0", "0.5-safety0.5")]
    assert [policy.kind for policy in policies] == [RunKind.DPO, RunKind.MODPO]
    assert (run.kind, run.status, set(run.parents.all())) == (RunKind.SWEEP, RunStatus.DONE, set(policies))
    assert [list(policy.parents.all()) for policy in policies] == [[], [reward_models[0]]]
    assert PreferenceDataset.objects.filter(runs__in=policies).distinct().count() == 1
    metrics = run.metrics
    assert printed == {"run": "s", "path": str(run.folder), "metrics": metrics}
    assert [point["weights"] for point in metrics["points"]] == [
        {"empathy": 1.0, "safety": 0.0},
        {"empathy": 0.5, "safety": 0.5},
    ]
    assert (metrics["prompts"], metrics["unanswered"], metrics["split"], metrics["simulated"]) == (6, 0, "test", True)
    for point in metrics["points"]:
        assert set(point["win_rates"]) == {"empathy", "safety"}
        assert all(rate["n"] == 6 and 0 <= rate["low"] <= rate["value"] for rate in point["win_rates"].values())
    assert 0 < metrics["hypervolume"]["value"] <= 1
    assert (
        metrics["operating_point"]["point"]
        == max(metrics["points"], key=lambda point: point["win_rates"]["empathy"]["value"])["run"]
    )
    record = json.loads((run.folder / "run.json").read_text())
    assert record["metrics"] == metrics
    assert record["simulated"] is True
    assert sorted(file.name for file in run.folder.iterdir()) == [
        *("README.md", "pareto.csv", "pareto.pdf", "pareto.svg", "run.json")
    ]


def test_the_win_rates_are_those_of_the_stored_rewards(sweep_modpo, reward_models, study):
    sweep_modpo()
    scorer = reward_models[2]

    def rewards(system):
        found = Reward.objects.filter(run=scorer, criterion="safety", response__system__name=system)
        return dict(found.values_list("response__prompt__key", "value"))

    base, policy = rewards("s-base"), rewards("s-empathy0.5-safety0.5")
    assert len(base) == len(policy) == 6
    expected = sum((policy[key] > base[key]) + 0.5 * (policy[key] == base[key]) for key in base) / 6
    point = Run.objects.get(name="s").metrics["points"][1]
    assert point["win_rates"]["safety"]["value"] == pytest.approx(expected)
    assert point["rewards"]["safety"]["value"] == pytest.approx(sum(policy.values()) / 6)
    with (Run.objects.get(name="s").folder / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["s-empathy1-safety0", "s-empathy0.5-safety0.5", "s-base"]
    assert float(rows[1]["safety_win_rate"]) == pytest.approx(expected)
    assert System.objects.get(name="s-empathy0.5-safety0.5").runs.get().kind == RunKind.GENERATION


def test_the_table_says_what_it_is_that_was_measured(sweep_modpo, reward_models, capsys):
    sweep_modpo(floor="safety=1.0")
    out = capsys.readouterr().out
    assert "n = 6 test prompts; 95 % intervals" in out
    assert "Simulated raters" in out
    assert "empathy / safety" in out
    assert "1 / 0" in out
    assert "hypervolume 0." in out
    assert "floor safety 1: no point's lower bounds keep the floors;" in out


def test_a_sweep_that_was_stopped_goes_on_and_ends_as_an_unbroken_one(sweep_modpo, reward_models, study, monkeypatch):
    trained = []
    align = sweep.align

    def stop_at_the_second(job):
        trained.append(job.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return align(job)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "align", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            sweep_modpo()
    first = Run.objects.get(kind=RunKind.DPO)
    assert not Run.objects.filter(kind=RunKind.SWEEP).exists()

    responded = []
    respond = sweep.respond

    def stop_at_the_last(writing, name, run, **options):
        responded.append(name)
        if len(responded) == 3:
            raise KeyboardInterrupt
        return respond(writing, name, run, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "respond", stop_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            sweep_modpo()
    there = set(Response.objects.values_list("pk", "text"))

    monkeypatch.setattr(sweep, "align", lambda job: pytest.fail(f"{job.name} is trained a second time"))
    sweep_modpo()
    done = Run.objects.get(kind=RunKind.SWEEP, status=RunStatus.DONE)
    assert first in done.parents.all()
    assert there < set(Response.objects.values_list("pk", "text"))
    assert Response.objects.filter(system__name__startswith="s-").count() == 3 * 6


def test_points_share_references_rewards_and_the_data_set_and_another_sweep_shares_the_points(
    sweep_modpo, reward_models, study, monkeypatch
):
    sweep_modpo(no_evaluation=True)
    first, second = Run.objects.filter(kind__in=[RunKind.DPO, RunKind.MODPO]).order_by("pk")
    assert first.metrics["reference_logps_computed"] == 10
    assert second.metrics["reference_logps_computed"] == 0
    metrics = Run.objects.get(name="s").metrics
    assert [point["run"] for point in metrics["points"]] == [first.name, second.name]
    assert "hypervolume" not in metrics
    assert not System.objects.exclude(name="candidates").exists()
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "align", lambda job: pytest.fail("nothing is left to train"))
        sweep_modpo(name="again", weights="0.5,1")
    assert set(Run.objects.get(name="again").parents.all()) == {first, second}
    assert System.objects.filter(name="again-empathy0.5-safety0.5").exists()
    sweep_modpo(name="longer", epochs=2.0, no_evaluation=True)
    assert not set(Run.objects.get(name="longer").parents.all()) & {first, second}


def test_a_finished_sweep_is_not_overwritten_and_its_responses_are_not_mixed_with_others(
    sweep_modpo, reward_models, study
):
    sweep_modpo(weights="1")
    with pytest.raises(CommandError, match="run s exists"):
        sweep_modpo()
    stopped = Run.objects.get(name="s")
    shutil.rmtree(stopped.folder)
    stopped.delete()
    with pytest.raises(CommandError, match="responded with other settings of sampling"):
        sweep_modpo(weights="1", temperature=0.3)
    assert not Run.objects.filter(name="s").exists()


def test_a_margin_of_nothing_but_zeros_is_refused_before_anything_is_trained(sweep_modpo, reward_models, monkeypatch):
    monkeypatch.setattr(
        "training.rewards.rewards_of_pairs",
        lambda study, pairs, runs: dict.fromkeys(
            [(pair.prompt_id, key, "safety") for pair in pairs for key in (pair.chosen_id, pair.rejected_id)], 0.5
        ),
    )
    with pytest.raises(CommandError, match="no pair has a margin"):
        sweep_modpo()
    assert not Run.objects.filter(kind__in=[RunKind.DPO, RunKind.MODPO]).exists()


def finished(name, key="safety", *, study, split=Split.TRAIN, files=(), datasets=(), status=RunStatus.DONE, **config):
    """A reward model of which only the record exists."""
    plan = RunPlan(
        kind=RunKind.REWARD_MODEL,
        name=name,
        config={"criterion": key, "split": split, **config},
        criterion=study.criterion(key),
        files=files,
        datasets=datasets,
    )
    with recorded_run(plan) as run:
        (run.folder / "model").touch()
    Run.objects.filter(pk=run.row.pk).update(status=status)
    return run.row


@pytest.fixture
def records(study):
    return [
        finished("margin", study=study),
        *(finished(f"scorer-{key}", key, study=study, split="scorer") for key in ("empathy", "safety")),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "none"}, "no such study"),
        ({"criterion": "kindness"}, "no criterion 'kindness'"),
        ({"criterion": "empathy"}, "the primary criterion already"),
        ({"weights": "0.5,half"}, "--weights 0.5,half: write numbers"),
        ({"weights": "0.5,0"}, "0 does not lie above 0"),
        ({"weights": "1.5"}, "1.5 does not lie above 0"),
        ({"weights": "nan"}, "nan does not lie above 0"),
        ({"weights": "0.5,0.5"}, "two points have the same weights"),
        ({"weights": None, "grid": 0}, "--grid 0"),
        (
            {"weights": None, "point": "empathy=0.5,safety=0.6"},
            "safety=0.6: the weights sum to 1.1",
        ),
        ({"weights": None, "point": "empathy=0.5,trust=0.5"}, "criterion trust: the sweep has empathy, safety"),
        ({"floor": "safety=high"}, "--floor safety=high"),
        ({"floor": "trust=0.5"}, "--floor trust=0.5: the sweep is over empathy, safety"),
        ({"floor": "safety=55"}, "a win rate lies between 0 and 1"),
        ({"scorer": "safety"}, "--scorer safety: write it"),
        ({"scorer": "trust=scorer-safety"}, "--scorer trust=...: that criterion is not among empathy, safety"),
        ({"scorer": "safety=scorer-empathy"}, "that reward model learned empathy"),
        ({"scorer": "safety=nothing"}, "no such run of kind reward_model"),
        ({"scorer": "safety=margin"}, "reward model margin cannot evaluate what margin taught"),
        ({"reward_run": "empathy=scorer-empathy"}, "that criterion is not among"),
        ({"weights": "1", "reward_run": "safety=margin"}, "that criterion is not among"),
        ({"split": "scorer", "scorer": ["safety=taught", "empathy=taught-too"]}, "of the prompts that the policies"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0"),
        ({"generation_batch": 0}, "--generation-batch 0"),
        ({"beta": 0.0}, "--beta 0.0"),
        ({"name": "n" * 80}, "over 80 characters"),
        ({"model": "smollm3"}, "smollm3"),
    ],
)
def test_a_wrong_option_is_one_line_and_trains_nothing(sweep_modpo, study, records, monkeypatch, changes, message):
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criterion("safety"), filters={"split": "scorer"}, content_hash="0" * 64,
        path="nowhere", pairs=1, rankings=1,
    )  # fmt: skip
    finished("taught", study=study, datasets=[dataset], split="other")
    finished("taught-too", "empathy", study=study, datasets=[dataset], split="other")
    monkeypatch.setattr("training.rewards.rewards_of_pairs", rising_rewards)
    with pytest.raises(CommandError) as caught:
        sweep_modpo(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Run.objects.exclude(kind=RunKind.REWARD_MODEL).exists()
    assert not System.objects.exclude(name="candidates").exists()


def rising_rewards(study, pairs, runs):
    keys = [(pair.prompt_id, key, "safety") for pair in pairs for key in (pair.chosen_id, pair.rejected_id)]
    return {key: float(number) for number, key in enumerate(keys)}


def test_a_study_without_scorers_is_told_how_to_get_them(sweep_modpo, study):
    finished("margin", study=study)
    with pytest.raises(CommandError, match=r"no reward model of empathy .* scorer prompts: .* or add --no-evaluation"):
        sweep_modpo()


def test_a_study_without_scorer_prompts_is_told_what_can_still_be_done(sweep_modpo, study):
    finished("margin", study=study)
    study.prompts.filter(split=Split.SCORER).update(split=Split.TRAIN)
    with pytest.raises(CommandError) as caught:
        sweep_modpo()
    for words in ("it has no scorer prompts", "--scorer-size N", "another with --scorer", "--no-evaluation"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_locked_study_takes_no_sweep(sweep_modpo, study, records):
    for status in (StudyStatus.CLOSED, StudyStatus.LOCKED):
        study.advance(status)
    with pytest.raises(CommandError, match="locked"):
        sweep_modpo()


def test_a_scorer_that_learned_from_a_file_is_known_by_the_files_prompts(study, records, tmp_path):
    rows = [
        {"prompt": prompt, "chosen": "kind", "rejected": "stop"}
        | {"prompt_id": f"p{n}", "chosen_id": "c", "rejected_id": "r"}
        for n, prompt in enumerate(["a post of its own", "another one"])
    ]  # fmt: skip
    file = write_lines(tmp_path / "pairs.jsonl", rows)
    scorer = finished("of-a-file", study=study, files=[file])
    assert prompts_of(scorer) == {"a post of its own", "another one"}
    require_strangers([scorer], [records[0]], {"what the policies see"})
    with pytest.raises(StudyError, match="learned from 1 of the prompts"):
        require_strangers([scorer], [records[0]], {"another one"})
    with pytest.raises(StudyError, match="learned from 2 of the prompts"):
        require_strangers([scorer], [finished("teacher-of-a-file", study=study, files=[file])], set())
    write_lines(file, rows[:1])
    with pytest.raises(StudyError, match="has changed since: nobody can tell"):
        require_strangers([scorer], [records[0]], set())
    file.unlink()
    with pytest.raises(StudyError, match="which is gone or has changed since: nobody can tell"):
        require_strangers([scorer], [records[0]], set())


def test_a_scorer_knows_the_prompts_it_learned_from_though_they_are_of_another_split_now(study):
    source = pairs_of_study(study, "safety", split=Split.SCORER, pairs="all")
    scorer = finished("scorer", study=study, split="scorer", datasets=source.datasets)
    texts = {pair.prompt for pair in source.pairs}
    assert prompts_of(scorer) == texts
    study.prompts.filter(split=Split.SCORER).update(split=Split.TEST)
    assert prompts_of(scorer) == texts


def test_weights_of_the_primary_criterion_leave_the_rest_to_the_others_evenly():
    assert [point.values for point in even_weights("a", ["b", "c"], "1,0.6")] == [
        {"a": 1.0, "b": 0.0, "c": 0.0},
        {"a": 0.6, "b": 0.2, "c": 0.2},
    ]


def test_a_grid_holds_every_multiple_that_sums_to_1_and_gives_the_primary_criterion_some():
    points = [tuple(point.values.values()) for point in lattice("a", ["b", "c"], 3)]
    third, two = pytest.approx(1 / 3), pytest.approx(2 / 3)
    assert sorted(points) == [
        (third, 0, two),
        (third, third, third),
        (third, two, 0),
        (two, 0, third),
        (two, third, 0),
        (1, 0, 0),
    ]
    assert len(lattice("a", ["b"], 5)) == 5


def test_a_criterion_that_a_point_leaves_out_has_no_weight():
    (point,) = listed_points("a", ["b", "c"], ["b=0.25,a=0.75"])
    assert list(point.values.items()) == [("a", 0.75), ("b", 0.25), ("c", 0.0)]
    with pytest.raises(InputError, match=r"--point b=1: --primary a: give it a --weight"):
        listed_points("a", ["b"], ["b=1"])


def statistic(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 60, "reason": None}


def metrics(criteria, **changes):
    rates = [{key: statistic(0.3 + 0.1 * i + 0.05 * k) for k, key in enumerate(criteria)} for i in range(3)]
    points = [
        {"run": f"run{i}", "system": f"s{i}", "weights": dict.fromkeys(criteria, 1 / len(criteria)), "win_rates": rate,
         "rewards": rate, "on_front": i == 2, "front_share": 0.5}
        for i, rate in enumerate(rates)
    ]  # fmt: skip
    base = {"system": "base", "rewards": rates[0]}
    return {
        "criteria": criteria,
        "points": points,
        "base": base,
        "hypervolume": statistic(0.4),
        "split": "test",
        "prompts": 60,
        "unanswered": 0,
        "floors": {"safety": 0.4},
        "operating_point": None,
        "simulated": False,
        **changes,
    }


def figure_texts(data):
    figure = figure_of(data)
    shown = [text.get_text() for axes in figure.axes for text in axes.texts if axes.get_visible()]
    return shown, [axes for axes in figure.axes if axes.get_visible()], figure.get_supxlabel()


def test_the_figure_of_two_criteria_has_every_cross_the_front_the_floor_and_n():
    data = sweep_report.chart(metrics(["empathy", "safety"]), {"empathy": "Empathy", "safety": "Safety"})
    shown, (axes,), note = figure_texts(data)
    assert shown.count("0.5 / 0.5") == 3
    assert {"base", "floor 40%"} <= set(shown)
    assert "n = 60 test prompts" in note
    assert "Simulated" not in note
    crosses = {tuple(round(float(x), 6) for x in line.get_xdata()) for line in axes.lines}
    assert {(0.25, 0.45), (0.35, 0.35)} <= crosses
    assert draw(data) == draw(data)
    assert draw(data, kind="pdf").startswith(b"%PDF")


def test_the_figure_of_more_criteria_has_a_panel_each_beside_the_primary_one():
    names = {"empathy": "Empathy", "safety": "Safety", "trust": "Trust", "autonomy": "Autonomy"}
    shown, panels, note = figure_texts(sweep_report.chart(metrics(list(names), simulated=True), names))
    assert [axes.get_xlabel() for axes in panels] == [f"{names[key]}: win rate over base" for key in list(names)[1:]]
    assert {axes.get_ylabel() for axes in panels} == {"Empathy: win rate over base"}
    assert (shown.count("1"), shown.count("floor 40%")) == (3, 1)
    assert sweep_report.SIMULATED in note


def test_the_table_names_the_operating_point_and_warns_that_it_was_chosen_on_these_prompts():
    chosen = {"point": "run1", "nearest": None, "reason": None}
    table = sweep_report.text("s", metrics(["empathy", "safety"], operating_point=chosen, unanswered=2))
    assert "floor safety 0.4: run1, with empathy 0.40 [0.30, 0.50], safety 0.45 [0.35, 0.55]" in table
    assert "compare it on others before you report it" in table
    assert "2 more prompts, to which not every policy responded, are left out" in table
