"""Scores do not depend on the company they are computed in, and are stored once."""

import csv
import json
import statistics

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError
from tests.factories import make_prompt, make_study
from tests.training.conftest import text
from training.models import Reward, Run, RunKind, RunStatus
from training.recipes import RewardRecipe
from training.reward_model import train_reward_model
from training.runs import RunPlan, plain, recorded_run
from training.scoring import score_texts

RECIPE = RewardRecipe(model="tiny", epochs=2, learning_rate=1e-2, max_length=64)


@pytest.fixture
def run(tiny_encoder, pairs, settings, tmp_path, db):
    settings.VAR_DIR = tmp_path
    plan = RunPlan(kind=RunKind.REWARD_MODEL, name="rm", config={"criterion": "empathy", **plain(RECIPE)})
    with recorded_run(plan) as run:
        metrics = train_reward_model(str(tiny_encoder), pairs[:20], pairs[20:], RECIPE, run.folder)
        run.metrics.update(vars(metrics))
    return run.row


@pytest.fixture
def texts(pairs):
    return [(text(n, 2 + n % 9), text(5 * n, 1 + (7 * n) % 30)) for n in range(24)]


def test_a_score_is_the_same_alone_in_company_and_in_another_order(run, texts):
    together = score_texts(run.folder, texts, batch_size=8)
    assert score_texts(run.folder, texts[::-1], batch_size=5)[::-1] == pytest.approx(together, abs=1e-5)
    assert [score_texts(run.folder, [one])[0] for one in texts[:4]] == pytest.approx(together[:4], abs=1e-5)
    assert len({round(score, 4) for score in together}) > 12


def test_scores_have_mean_0_and_deviation_1_over_the_training_responses(run, pairs):
    trained = sorted({(p.prompt, t) for p in pairs[:20] for t in (p.chosen, p.rejected)})
    scores = score_texts(run.folder, trained)
    assert statistics.fmean(scores) == pytest.approx(0, abs=1e-4)
    assert statistics.pstdev(scores) == pytest.approx(1, abs=1e-4)
    raw = score_texts(run.folder, trained, normalised=False)
    assert raw[0] == pytest.approx(scores[0] * run.metrics["reward_sd"] + run.metrics["reward_mean"], abs=1e-4)


def test_no_texts_are_no_scores(run):
    assert score_texts(run.folder, []) == []


def test_a_folder_without_a_reward_model_is_named(run, tmp_path):
    with pytest.raises(InputError, match=r"holds no run.json"):
        score_texts(tmp_path / "nowhere", [("a", "b")])
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**record, "kind": "dpo"}))
    with pytest.raises(InputError, match="needs a reward model"):
        score_texts(run.folder, [("a", "b")])


def test_responses_of_a_study_are_scored_once_each(run, capsys):
    study = make_study()
    for _ in range(3):
        make_prompt(study, responses=2)
    call_command("score_responses", "--run=rm", f"--study={study.slug}")
    first = dict(Reward.objects.values_list("response", "value"))
    make_prompt(study, responses=1)
    call_command("score_responses", "--run=rm", f"--study={study.slug}")
    assert capsys.readouterr().out.splitlines() == [
        "6 responses scored by rm, 0 had been before",
        "1 responses scored by rm, 6 had been before",
    ]
    assert Reward.objects.count() == 7
    assert first.items() <= dict(Reward.objects.values_list("response", "value")).items()


def test_a_file_gets_a_column_of_rewards(run, texts, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("question_id", "question_text", "response_text"), *((n, *t) for n, t in enumerate(texts))])
    call_command("score_responses", "--run=rm", f"--input={source}", f"--output={target}")
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["reward"]) for row in rows] == pytest.approx(score_texts(run.folder, texts), abs=1e-4)
    assert rows[3]["question_id"] == "3"
    with pytest.raises(CommandError, match="exists"):
        call_command("score_responses", "--run=rm", f"--input={source}", f"--output={target}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question_text\nx\n", "row 1: column response_text is missing"),
        ("question_text,response_text\na,b\na,\n", "row 3, column response_text: it is empty"),
        (None, "there is no such file"),
    ],
)
def test_a_wrong_file_is_one_line_and_leaves_nothing(run, tmp_path, content, message):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    if content is not None:
        source.write_text(content)
    with pytest.raises(CommandError, match=message):
        call_command("score_responses", "--run=rm", f"--input={source}", f"--output={target}")
    assert not target.exists()


def test_an_unknown_or_unfinished_run_is_refused(run):
    with pytest.raises(CommandError, match=r"no such run .* \(there are: rm\)"):
        call_command("score_responses", "--run=other", "--study=x")
    Run.objects.filter(pk=run.pk).update(status=RunStatus.RUNNING)
    with pytest.raises(CommandError, match="rm is running"):
        call_command("score_responses", "--run=rm", "--study=x")
