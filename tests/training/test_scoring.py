"""Scores do not depend on the company they are computed in, and are stored once."""

import csv
import json
import statistics

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError
from annotation.models import Response
from tests.factories import make_prompt, make_study
from tests.training.conftest import text
from training.models import Reward, Run, RunKind, RunStatus
from training.recipes import RewardRecipe
from training.reward_model import train_reward_model
from training.rewards import score_responses
from training.runs import RunPlan, plain, recorded_run
from training.scoring import RunScorer, raw_scores, score_columns, score_texts

RECIPE = RewardRecipe(model="tiny", epochs=2, learning_rate=1e-2, max_length=64)


@pytest.fixture
def run(tiny_encoder, pairs, settings, tmp_path, db):
    settings.VAR_DIR = tmp_path
    plan = RunPlan(kind=RunKind.REWARD_MODEL, name="rm", config={"criterion": "empathy", **plain(RECIPE)})
    with recorded_run(plan) as run:
        metrics = train_reward_model(str(tiny_encoder), pairs[:20], pairs[20:], RECIPE, run.folder)
        run.metrics.update(vars(metrics))
    return run.row


def write_texts(path, texts):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("question_id", "question_text", "response_text"), *((n, *t) for n, t in enumerate(texts))])
    return path


@pytest.fixture
def texts(pairs):
    return [(text(n, 2 + n % 9), text(5 * n, 1 + (7 * n) % 30)) for n in range(24)]


def test_a_score_is_the_same_alone_in_company_and_in_another_order(run, texts):
    raw = raw_scores(run.folder, texts, max_length=64, batch_size=8)
    assert raw_scores(run.folder, texts[::-1], max_length=64, batch_size=5)[::-1] == pytest.approx(raw, abs=1e-5)
    alone = [raw_scores(run.folder, [one], max_length=64)[0] for one in texts]
    assert alone == pytest.approx(raw, abs=1e-5)
    assert score_texts(run.folder, texts, normalised=False) == pytest.approx(raw, abs=1e-5)
    together = score_texts(run.folder, texts)
    assert len({round(score, 4) for score in together}) > 12


def test_texts_that_are_alike_score_alike(run, texts):
    once = raw_scores(run.folder, texts, max_length=64)
    assert raw_scores(run.folder, [*texts, *texts], max_length=64) == [*once, *once]


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


def test_a_reward_model_scores_the_criterion_it_learned_and_no_other(run, texts):
    scores = score_texts(run.folder, texts)
    assert score_texts(run.folder, texts, "empathy") == scores
    assert score_columns(run.folder, texts) == {"empathy": scores}
    with pytest.raises(InputError, match="is a reward model of empathy, not of safety"):
        score_texts(run.folder, texts, "safety")


def test_a_record_without_criterion_is_one_line(run):
    record = json.loads((run.folder / "run.json").read_text())
    del record["config"]["criterion"]
    (run.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="names no criterion"):
        score_texts(run.folder, [("a", "b")])


@pytest.fixture
def study(run):
    study = make_study()
    for _ in range(3):
        make_prompt(study, responses=2)
    return study


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "run.json"]
)
def test_a_file_that_was_cut_off_is_one_line_and_nothing_is_stored(run, study, name):
    file = run.folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CommandError, match=r"is damaged: .*restore") as caught:
        call_command("score_responses", "--run=rm", f"--study={study.slug}")
    assert "\n" not in str(caught.value)
    assert not Reward.objects.exists()


def test_a_reward_that_is_no_number_is_one_line_and_nothing_is_stored(run, study, texts, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(run.folder / "model.safetensors")
    weights["classifier.bias"].fill_(float("nan"))
    save_file(weights, run.folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CommandError, match="gives nan to the response") as caught:
        call_command("score_responses", "--run=rm", f"--study={study.slug}")
    assert "\n" not in str(caught.value)
    assert not Reward.objects.exists()
    source, target = write_texts(tmp_path / "in.csv", texts), tmp_path / "out.csv"
    with pytest.raises(CommandError, match="gives nan to the response"):
        call_command("score_responses", "--run=rm", f"--input={source}", f"--output={target}")
    assert not target.exists()


def test_a_scoring_that_was_stopped_goes_on_where_it_was(run, study, monkeypatch):
    monkeypatch.setattr("training.rewards.CHUNK", 2)
    loaded = []
    monkeypatch.setattr("training.rewards.RunScorer", lambda folder: loaded.append(folder) or RunScorer(folder))
    responses = list(Response.objects.filter(prompt__study=study).select_related("prompt"))

    def interrupt(chunks):
        yield next(iter(chunks))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_responses(run, responses, track=interrupt)
    first = dict(Reward.objects.values_list("response", "value"))
    assert len(first) == 2
    assert score_responses(run, responses) == 4
    assert len(loaded) == 2, "the model is loaded once a scoring, however many chunks it has"
    assert first.items() < dict(Reward.objects.values_list("response", "value")).items()
    assert score_responses(run, responses) == 0
    assert len(loaded) == 2


def test_responses_of_a_study_are_scored_once_each(run, study, capsys):
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
    source, target = write_texts(tmp_path / "in.csv", texts), tmp_path / "out.csv"
    call_command("score_responses", "--run=rm", f"--input={source}", f"--output={target}")
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["reward"]) for row in rows] == pytest.approx(score_texts(run.folder, texts), abs=1e-4)
    assert rows[3]["question_id"] == "3"
    with pytest.raises(CommandError, match="exists"):
        call_command("score_responses", "--run=rm", f"--input={source}", f"--output={target}")


@pytest.mark.parametrize(("place", "message"), [("full.csv", "No space left on device"), ("no/out.csv", "no folder")])
def test_a_full_disk_or_a_missing_folder_is_one_line_and_leaves_nothing(run, texts, tmp_path, place, message):
    source, target = write_texts(tmp_path / "in.csv", texts), tmp_path / place
    (tmp_path / ".full.csv.partial").symlink_to("/dev/full")
    before = set(tmp_path.iterdir())
    with pytest.raises(CommandError, match=message) as caught:
        call_command("score_responses", "--run=rm", f"--input={source}", f"--output={target}")
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) <= before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question_text\nx\n", "row 1: column response_text is missing"),
        ("question_text,response_text\na,b\na,\n", "row 3, column response_text: a text is required"),
        (None, "in.csv: cannot be read"),
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
