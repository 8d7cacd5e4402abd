import hashlib
import json
from collections import defaultdict

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from annotation.errors import InputError, StudyError
from annotation.models import (
    ConsentRecord,
    RankedResponse,
    Ranking,
    Rater,
)
from tests.factories import (
    make_participant,
    make_prompt,
    make_response,
    make_study,
    make_system,
    make_task,
)
from tests.training.rankings import manifest, rank
from training import datasets
from training.aggregation import AGGREGATIONS
from training.datasets import export_preferences
from training.models import PreferenceDataset
from training.pairs import read_pairs

pytestmark = pytest.mark.django_db


@pytest.fixture
def study():
    return make_study(slug="pilot")


@pytest.fixture
def empathy(study):
    return study.criterion("empathy")


def test_rankings_are_voted_into_the_papers_pair(study, empathy, tmp_path):
    prompt = make_prompt(study, responses=3)
    ballots = [rank(empathy, prompt, 2, 0, 1), rank(empathy, prompt, 2, 1, 0), rank(empathy, prompt, 0, 2, 1)]
    dataset = export_preferences(study, empathy, output=tmp_path / "out")
    (pair,) = read_pairs(tmp_path / "out" / "pairs.jsonl")
    keys = [response.key for response in prompt.responses.order_by("pk")]
    assert (pair.prompt_id, pair.chosen_id, pair.rejected_id, pair.rank_gap) == (prompt.key, keys[2], keys[1], 2)
    assert (dataset.pairs, dataset.rankings, dataset.raters.count()) == (1, 3, 3)
    (origin,) = map(json.loads, (tmp_path / "out" / "provenance.jsonl").read_text().splitlines())
    assert origin["rankings"] == [ballot.pk for ballot in ballots]
    assert origin["order"] == [keys[2], keys[0], keys[1]]
    assert origin["scores"] == [4, 0, -4]


def test_only_the_split_and_the_criterion_asked_for_are_exported(study, empathy, tmp_path):
    train, test = make_prompt(study, responses=2), make_prompt(study, responses=2, split="test")
    rank(empathy, train, 0, 1)
    rank(empathy, test, 0, 1)
    rank(study.criterion("safety"), train, 1, 0)
    export_preferences(study, empathy, output=tmp_path / "out", split="test")
    assert [pair.prompt_id for pair in read_pairs(tmp_path / "out" / "pairs.jsonl")] == [test.key]


def test_withdrawn_raters_and_drafts_are_left_out_and_counted(study, empathy, tmp_path):
    prompt = make_prompt(study, responses=2)
    rank(empathy, prompt, 0, 1)
    gone = rank(empathy, prompt, 1, 0)
    # Marked without deleting the rows: the export itself must leave them out.
    Rater.objects.filter(pk=gone.task.rater_id).update(withdrawn_at=gone.submitted_at)
    Ranking.objects.create(task=make_task(make_participant(study).rater, prompt), criterion=empathy)
    dataset = export_preferences(study, empathy, output=tmp_path / "out")
    assert (dataset.rankings, dataset.raters.count()) == (1, 1)
    assert manifest(tmp_path / "out")["exclusions"] == {
        "raters_withdrawn": 1,
        "rankings_not_submitted": 1,
        "rankings_of_another_source": 0,
        "rankings_by_rule": {},
        "rankings_by_any_rule": 0,
    }


def test_a_later_withdrawal_marks_the_data_set_and_the_next_export_is_another(study, empathy, tmp_path):
    prompt = make_prompt(study, responses=2)
    rank(empathy, prompt, 0, 1)
    leaving = rank(empathy, prompt, 0, 1)
    before = export_preferences(study, empathy, output=tmp_path / "before")
    leaving.task.rater.withdraw()
    after = export_preferences(study, empathy, output=tmp_path / "after")
    assert before.is_tainted
    assert not after.is_tainted
    assert before.content_hash != after.content_hash
    # The pairs are the same; it is the provenance that differs.
    assert (tmp_path / "before/pairs.jsonl").read_text() == (tmp_path / "after/pairs.jsonl").read_text()


def test_the_manifest_tells_hashes_counts_and_consent(study, empathy, tmp_path):
    prompt = make_prompt(study, responses=2)
    participant = rank(empathy, prompt, 0, 1).task.rater.participant
    document = study.current_consent()
    ConsentRecord.objects.create(
        participant=participant, document=document, document_sha256=document.sha256, agreed=True
    )
    unrelated = make_participant(study)
    ConsentRecord.objects.create(participant=unrelated, document=document, document_sha256="x" * 64, agreed=True)
    dataset = export_preferences(study, empathy, output=tmp_path / "out")
    told = manifest(tmp_path / "out")
    data = (tmp_path / "out" / "pairs.jsonl").read_bytes()
    assert told["files"]["pairs.jsonl"] == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "records": 1,
    }
    assert told["files"]["provenance.jsonl"]["records"] == 1
    assert told["content_hash"] == dataset.content_hash
    assert told["consent_versions"] == [{"version": "1", "sha256": document.sha256, "raters": 1}]
    assert told["counts"] == {
        "prompts": 1,
        "rankings": 1,
        "rankings_by": {"participant": 1},
        "raters": 1,
        "pairs": 1,
    }
    assert told["simulated"] is False


def test_simulated_raters_are_told_of_in_plain_words(study, empathy, tmp_path, capsys):
    prompt = make_prompt(study, responses=2)
    rank(empathy, prompt, 0, 1)
    rank(empathy, prompt, 0, 1, simulated=True)
    call_command("export_preferences", "--study", "pilot", "--criterion", "empathy", "--output", str(tmp_path / "out"))
    told = manifest(tmp_path / "out")
    assert told["simulated"] is True
    assert told["label"].startswith("1 of 2 rankings are by simulated raters: no person")
    assert told["counts"]["rankings_by"] == {"participant": 1, "simulated participant": 1}
    assert "(simulated raters among them)" in capsys.readouterr().out


def test_ties_and_incomplete_rankings_are_dropped_and_counted(study, empathy, tmp_path):
    tied, whole = make_prompt(study, responses=3), make_prompt(study, responses=3)
    rank(empathy, tied, 0, 1, 2)
    rank(empathy, tied, 2, 1, 0)
    rank(empathy, whole, 1, 0, 2)
    broken = rank(empathy, whole, 2, 0, 1)
    RankedResponse.objects.filter(ranking=broken, rank=2).delete()
    export_preferences(study, empathy, output=tmp_path / "best")
    assert manifest(tmp_path / "best")["dropped"] == {"pairs_tied_or_alike": 1, "incomplete_rankings": 1}
    export_preferences(study, empathy, output=tmp_path / "all", pairs="all")
    assert manifest(tmp_path / "all")["dropped"] == {"pairs_tied_or_alike": 3, "incomplete_rankings": 1}
    assert [pair.prompt_id for pair in read_pairs(tmp_path / "all" / "pairs.jsonl")] == [whole.key] * 3


def test_rankings_of_different_responses_are_not_mixed(study, empathy, tmp_path):
    system = make_system(study)
    prompt = make_prompt(study, responses=2, system=system)
    rank(empathy, prompt, 0, 1)
    make_response(prompt, system, number=3)
    rank(empathy, prompt, 2, 1, 0)
    dataset = export_preferences(study, empathy, output=tmp_path / "out")
    gaps = [pair.rank_gap for pair in read_pairs(tmp_path / "out" / "pairs.jsonl")]
    assert (sorted(gaps), dataset.rankings) == ([1, 2], 2)
    assert manifest(tmp_path / "out")["counts"]["prompts"] == 1


def test_the_aggregation_asked_for_orders_the_responses_and_is_told(study, empathy, tmp_path):
    # The first response is best to 5 raters and worst to 4; the second, never worst, has the most points.
    prompt = make_prompt(study, responses=3)
    for _ in range(5):
        rank(empathy, prompt, 0, 1, 2)
    for _ in range(4):
        rank(empathy, prompt, 1, 2, 0)
    scores = {}
    for aggregation in AGGREGATIONS:
        dataset = export_preferences(study, empathy, output=tmp_path / aggregation, aggregation=aggregation)
        assert dataset.aggregation == manifest(tmp_path / aggregation)["choices"]["aggregation"] == aggregation
        (origin,) = map(json.loads, (tmp_path / aggregation / "provenance.jsonl").open())
        scores[aggregation] = origin["scores"]
    assert scores["weighted_voting"] == [8, 2, -10]
    assert scores["borda"] == [13, 10, 4]
    assert sum(scores["plackett_luce"]) == pytest.approx(0, abs=1e-5)
    assert PreferenceDataset.objects.count() == 3


def test_holding_out_every_prompt_is_refused(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    with pytest.raises(StudyError, match=r"holding out 0\.1 of 1 prompts leaves none to train on"):
        export_preferences(study, empathy, output=tmp_path / "out", eval_fraction=0.1)
    assert not list(tmp_path.iterdir())


def test_weights_of_a_ranking_sum_to_1_and_the_manifest_says_why(study, empathy, tmp_path):
    for _ in range(3):
        rank(empathy, make_prompt(study, responses=5), 0, 1, 2, 3, 4)
    export_preferences(study, empathy, output=tmp_path / "out", pairs="all")
    weights = defaultdict(list)
    for pair in read_pairs(tmp_path / "out" / "pairs.jsonl"):
        weights[pair.prompt_id].append(pair.weight)
    assert [(len(one), sum(one)) for one in weights.values()] == [(10, pytest.approx(1))] * 3
    assert "their weights sum to 1" in manifest(tmp_path / "out")["weights"]


@pytest.mark.parametrize(
    ("file_format", "name"),
    [("trl", "pairs.jsonl"), ("authors-pairs", "empathy_pairs.json"), ("authors-rankings", "empathy_rankings.json")],
)
def test_held_out_prompts_go_to_a_file_of_their_own(study, empathy, tmp_path, file_format, name):
    for _ in range(10):
        rank(empathy, make_prompt(study, responses=2), 0, 1)
    out = tmp_path / "out"
    export_preferences(study, empathy, output=out, file_format=file_format, eval_fraction=0.2)
    files = manifest(out)["files"]
    assert (files[name]["records"], files[f"eval_{name}"]["records"]) == (8, 2)
    places = {json.loads(line)["prompt_id"]: json.loads(line)["file"] for line in (out / "provenance.jsonl").open()}
    assert sorted(places.values()).count(f"eval_{name}") == 2
    if file_format != "authors-rankings":
        train, held_out = ({pair.prompt_id for pair in read_pairs(out / f)} for f in (name, f"eval_{name}"))
        assert not train & held_out


def test_exported_rankings_import_again(study, empathy, tmp_path):
    prompt = make_prompt(study, responses=3)
    rank(empathy, prompt, 1, 2, 0)
    dataset = export_preferences(study, empathy, output=tmp_path / "out", file_format="authors-rankings")
    assert dataset.pairs == 0
    path = tmp_path / "out" / "empathy_rankings.json"
    call_command("import_rankings", str(path), "--study", "pilot", "--criterion", "safety")
    (imported,) = Ranking.objects.filter(criterion__key="safety")
    keys = [response.key for response in prompt.responses.order_by("pk")]
    assert [row.response.key for row in imported.ranked_responses.all()] == [keys[1], keys[2], keys[0]]


def test_the_same_data_again_are_the_same_row(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    first = export_preferences(study, empathy, output=tmp_path / "a")
    assert export_preferences(study, empathy, output=tmp_path / "a") == first
    assert export_preferences(study, empathy, output=tmp_path / "b") == first
    assert (tmp_path / "b" / "pairs.jsonl").is_file()
    first.refresh_from_db()
    assert first.folder == tmp_path / "a"
    assert PreferenceDataset.objects.count() == 1


def test_a_row_whose_files_are_gone_points_to_the_new_ones(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    export_preferences(study, empathy, output=tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "moved")
    assert export_preferences(study, empathy, output=tmp_path / "b").folder == tmp_path / "b"
    assert PreferenceDataset.objects.get().folder == tmp_path / "b"


def test_a_path_below_var_is_kept_relative_to_it(study, empathy, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    dataset = export_preferences(study, empathy, output=tmp_path / "datasets" / "a")
    assert dataset.path == "datasets/a"
    assert (dataset.folder / "manifest.json").is_file()


def test_nothing_is_overwritten(study, empathy, tmp_path):
    prompt = make_prompt(study, responses=2)
    rank(empathy, prompt, 0, 1)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="the folder holds other files"):
        export_preferences(study, empathy, output=mine)
    with pytest.raises(InputError, match="the folder holds other files"):
        export_preferences(study, empathy, output=mine / "notes.txt")
    export_preferences(study, empathy, output=tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_text()
    rank(empathy, prompt, 0, 1)
    with pytest.raises(InputError, match="holds another data set"):
        export_preferences(study, empathy, output=tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]
    assert PreferenceDataset.objects.count() == 1


def test_an_export_that_fails_leaves_nothing(study, empathy, tmp_path, monkeypatch):
    rank(empathy, make_prompt(study, responses=2), 0, 1)

    def fail(*args):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(datasets.Path, "replace", fail)
        with pytest.raises(OSError, match="full"):
            export_preferences(study, empathy, output=tmp_path / "out")
    assert not list(tmp_path.iterdir())
    assert not PreferenceDataset.objects.exists()


def test_without_rankings_there_is_nothing_to_export(study, empathy, tmp_path):
    make_prompt(study, responses=2)
    with pytest.raises(StudyError, match="no submitted ranking on empathy among its train prompts"):
        export_preferences(study, empathy, output=tmp_path / "out")
    with pytest.raises(CommandError, match="no submitted ranking"):
        call_command(
            "export_preferences", "--study", "pilot", "--criterion", "empathy", "--output", str(tmp_path / "out")
        )
    assert not list(tmp_path.iterdir())


def test_machines_get_the_manifest(study, empathy, tmp_path, capsys):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    options = ["--study", "pilot", "--criterion", "empathy", "--output", str(tmp_path / "out"), "--json"]
    call_command("export_preferences", *options)
    assert json.loads(capsys.readouterr().out) == manifest(tmp_path / "out")


@pytest.mark.parametrize(
    "choice",
    [
        {"file_format": "xml"},
        {"pairs": "some"},
        {"eval_fraction": 1.0},
        {"eval_fraction": -0.1},
        {"aggregation": "kemeny"},
        {"source": "robots"},
    ],
)
def test_unknown_choices_are_refused(study, empathy, tmp_path, choice):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    with pytest.raises(InputError) as caught:
        export_preferences(study, empathy, output=tmp_path / "out", **choice)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_number_of_queries_does_not_grow_with_the_rankings(study, empathy, tmp_path, django_assert_max_num_queries):
    for _ in range(12):
        prompt = make_prompt(study, responses=3)
        for _ in range(3):
            rank(empathy, prompt, 1, 0, 2)
    with django_assert_max_num_queries(20):
        export_preferences(study, empathy, output=tmp_path / "out")


def test_a_data_set_is_kept_once_a_content(study, empathy, tmp_path):
    rank(empathy, make_prompt(study, responses=2), 0, 1)
    dataset = export_preferences(study, empathy, output=tmp_path / "out")
    with pytest.raises(IntegrityError):
        PreferenceDataset.objects.create(
            study=study, criterion=empathy, content_hash=dataset.content_hash, path="x", pairs=0, rankings=0
        )
