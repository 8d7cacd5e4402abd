import io
import json
import string

import pytest
from django.core.management import CommandError, call_command

from annotation.errors import InputError, StudyError
from annotation.models import Choice, Rater, Split, Verdict
from evaluation.judging import JudgeSpec, ensure_judge, plan, store, swap_consistency
from evaluation.models import Judge, JudgeKind, JudgeReply
from evaluation.reward_judge import TIE_THRESHOLD, judge_config, origin, parse_runs, require_stranger, verdict, votes
from tests.factories import counter, make_comparison, make_participant, make_prompt, make_study, make_system
from training.models import PreferenceDataset, Run, RunKind, RunStatus

pytestmark = pytest.mark.django_db


def make_run(kind=RunKind.REWARD_MODEL, *, parents=(), datasets=(), learned="empathy", **fields):
    config = {"criteria": learned} if isinstance(learned, list) else {"criterion": learned}
    run = Run.objects.create(
        **{
            "name": f"run-{next(counter)}",
            "path": ".",
            "kind": kind,
            "status": RunStatus.DONE,
            "config": config,
            **fields,
        }
    )
    run.parents.set(parents)
    run.datasets.set(datasets)
    return run


def make_dataset(study, *, split=Split.TRAIN):
    return PreferenceDataset.objects.create(
        study=study,
        criterion=study.criteria.first(),
        filters={"split": split},
        content_hash=f"{next(counter):064d}",
        path="nowhere",
        pairs=1,
        rankings=1,
    )


@pytest.fixture
def study():
    return make_study()


@pytest.fixture
def comparisons(study):
    """Aligned, which a reward model and a data set of the training prompts made, against Base on three prompts."""
    base, aligned = make_system(study, name="Base"), make_system(study, name="Aligned")
    return [make_comparison(make_prompt(study, split=Split.TEST), base, aligned) for _ in range(3)]


@pytest.fixture
def training(study, comparisons):
    reward = make_run(learned="safety", datasets=[make_dataset(study)])
    policy = make_run(RunKind.MODPO, parents=[reward], datasets=[make_dataset(study)])
    generation = make_run(RunKind.GENERATION, parents=[policy], system=study.systems.get(name="Aligned"))
    return reward, policy, generation


def prefer_aligned(folder, texts):
    """Stands for a reward model: Aligned is a deviation better, but for the first prompt's tie."""
    first = min(prompt for prompt, _ in texts)
    scores = [0.05 if prompt == first else 1.0 if "Aligned" in response else 0.0 for prompt, response in texts]
    return {"empathy": scores}


def reward_judge(study, runs):
    spec = JudgeSpec(
        name="Scorers", kind=JudgeKind.REWARD_MODEL, config=judge_config(runs, seed=0), runs=list(runs.values())
    )
    return ensure_judge(study, spec)


def test_a_reward_judge_gives_the_same_winner_in_both_orders(study, comparisons):
    empathy = study.criteria.get(key="empathy")
    runs = {empathy: make_run()}
    judge = reward_judge(study, runs)
    cast = votes(plan(judge, comparisons), runs, prefer_aligned, tie_threshold=0.1)
    assert store(cast, study=study) == 6
    winners = [verdict.winner for verdict in Verdict.objects.order_by("assignment__comparison")]
    assert winners == ["tie", "tie", "B", "B", "B", "B"]
    assert {verdict.criterion for verdict in Verdict.objects.all()} == {empathy}
    assert swap_consistency(judge, comparisons).value == 1
    scores = json.loads(JudgeReply.objects.last().text)["empathy"]
    assert sorted(scores) == ["left", "right"]
    assert plan(judge, comparisons) == []


@pytest.mark.parametrize(("shared", "expected"), [(False, [6, 6]), (True, [6])])
def test_each_response_is_scored_once_a_run(study, comparisons, shared, expected):
    calls = []

    def scorer(folder, texts):
        calls.append(len(texts))
        return {"empathy": [float(len(text)) for _, text in texts], "safety": [-float(len(text)) for _, text in texts]}

    encoder = make_run(learned=["empathy", "safety"])
    runs = {criterion: encoder if shared else make_run(learned=criterion.key) for criterion in study.criteria.all()}
    cast = votes(plan(reward_judge(study, runs), comparisons), runs, scorer, tie_threshold=0.1)
    assert calls == expected
    both = [{criterion.key: choice for criterion, choice in vote.choices.items()} for vote in cast]
    assert all({vote["empathy"], vote["safety"]} == {"left", "right"} for vote in both)


def test_a_text_ties_with_itself_however_it_was_batched():
    assert verdict(0.4, 0.4 + 6e-7, tie_threshold=TIE_THRESHOLD) == Choice.TIE


@pytest.mark.parametrize(
    ("left", "right", "expected"), [(1.0, 0.9, "tie"), (1.0, 0.89, "left"), (-2.0, -1.0, "right"), (0.0, 0.0, "tie")]
)
def test_a_verdict_needs_more_than_the_tie_threshold(left, right, expected):
    assert verdict(left, right, tie_threshold=0.1 + 1e-12) == Choice(expected)


def test_a_systems_origin_reaches_every_ancestor(study, training):
    assert origin(study.systems.get(name="Aligned")) == set(training)
    assert origin(study.systems.get(name="Base")) == set()


def test_a_reward_model_that_trained_a_system_does_not_judge_it(comparisons, training):
    with pytest.raises(StudyError, match="took part in training Aligned"):
        require_stranger([training[0]], comparisons)


def test_a_reward_model_of_a_systems_data_set_does_not_judge_it(comparisons, training):
    sibling = make_run(datasets=training[1].datasets.all())
    with pytest.raises(StudyError, match="same data set as Aligned"):
        require_stranger([sibling], comparisons)


def test_a_reward_model_does_not_judge_on_prompts_it_learned_from(study, comparisons):
    with pytest.raises(StudyError, match="learned from test prompts"):
        require_stranger([make_run(datasets=[make_dataset(study, split=Split.TEST)])], comparisons)


def test_a_reward_model_of_scorer_prompts_may_judge(study, comparisons, training):
    require_stranger([make_run(datasets=[make_dataset(study, split=Split.SCORER)])], comparisons)


def test_the_command_refuses_homework_and_leaves_nothing_behind(study, comparisons, training):
    with pytest.raises(CommandError, match="took part in training Aligned"):
        call_command(
            "judge",
            *("--study", study.slug, "--name", "Own", "--run", f"safety={training[0].name}"),
            stdout=io.StringIO(),
            stderr=io.StringIO(),
        )
    assert not Rater.objects.exists()
    assert not Judge.objects.exists()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["empathy"], "write it as criterion=run"),
        (["empathy=nowhere"], "no such run of kind reward_model"),
        (["empathy=good", "empathy=good"], "has a run already"),
        (["empathy=failed"], "only a finished run can be used"),
        (["empathy=policy"], "no such run of kind reward_model"),
        (["empathy=safe"], "learned safety"),
        (["humour=good"], "no criterion 'humour'"),
    ],
)
def test_runs_that_cannot_judge_are_refused(study, pairs, message):
    make_run(name="good")
    make_run(name="failed", status=RunStatus.FAILED)
    make_run(RunKind.DPO, name="policy")
    make_run(name="safe", learned="safety")
    with pytest.raises((InputError, StudyError), match=message):
        parse_runs(study, pairs)


def test_runs_come_in_the_studys_order_of_criteria(study):
    first, second = make_run(learned=["safety", "empathy"]), make_run()
    found = parse_runs(study, [f"safety={first.name}", f"empathy={second.name}"])
    assert [criterion.key for criterion in found] == ["empathy", "safety"]


def test_a_judge_does_not_change_its_runs_under_its_name(study):
    empathy = study.criteria.get(key="empathy")
    reward_judge(study, {empathy: make_run()})
    with pytest.raises(StudyError, match="another --run, runs"):
        reward_judge(study, {empathy: make_run()})


@pytest.fixture
def reward_folder(tmp_path):
    """A finished reward model: a BERT of one layer with random weights that reads letters."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from tokenizers.processors import BertProcessing
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.printable])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=96,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    record = {
        "kind": "reward_model",
        "config": {"max_length": 96, "criterion": "empathy"},
        "metrics": {"reward_mean": 0.0, "reward_sd": 1e-6},
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    return tmp_path


def test_the_command_scores_with_a_real_model_and_says_when_it_learned_from_simulated_raters(
    study, comparisons, reward_folder
):
    dataset = make_dataset(study, split=Split.SCORER)
    dataset.raters.add(make_participant(study, simulated=True).rater)
    run = make_run(path=str(reward_folder), datasets=[dataset], criterion=study.criteria.get(key="empathy"))
    out = io.StringIO()
    command = ("judge", "--study", study.slug, "--name", "Scorers", "--run", f"empathy={run.name}")
    call_command(*command, stdout=out, stderr=io.StringIO())
    assert "Scorers (learned from simulated raters): 6 new votes, 0 kept, 0 failed" in out.getvalue()
    assert "same winner in both orders 1.00" in out.getvalue()
    assert set(Verdict.objects.values_list("choice", flat=True)) == {"left", "right"}
    call_command(*command, stdout=out, stderr=io.StringIO())
    assert "0 new votes, 6 kept" in out.getvalue()
    assert Verdict.objects.count() == 6
