"""Runs and data sets in the admin: the list, the page of a run, two runs side by side."""

import json
import random
import re
import socket

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotation.models import ConsentRecord
from tests.factories import counter, make_participant, make_study, make_system
from training.lineage import Lineage, provenance
from training.models import PreferenceDataset, Run, RunKind, RunStatus
from training.run_pages import duration, state_of
from training.sign_of_life import SignOfLife

pytestmark = pytest.mark.django_db

LIST = "admin:training_run_changelist"
COMPARE = "admin:training_run_compare"


def page_of(run):
    return reverse("admin:training_run_change", args=[run.pk])


def compare(first, second):
    return f"{reverse(COMPARE)}?a={first.pk}&b={second.pk}"


def statistic(value, n=40):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": n, "reason": None}


def curves(updates=6):
    steps = range(1, updates + 1)
    return {
        "loss": [[step, 0.7 - 0.05 * step] for step in steps],
        "margin": [[step, 0.1 * step] for step in steps],
        "accuracy": [[step, 0.5 + 0.05 * step] for step in steps],
        "learning_rate": [[step, 1e-4 / step] for step in steps],
        "eval_loss": [[3, 0.61], [6, 0.52]],
    }


def make_dataset(study, *participants, criterion=0):
    dataset = PreferenceDataset.objects.create(
        study=study,
        criterion=study.criteria.all()[criterion],
        content_hash=f"{next(counter):064x}",
        path=f"sets/{next(counter)}",
        pairs=40,
        rankings=8,
    )
    dataset.raters.set([participant.rater for participant in participants])
    return dataset


def make_run(name, kind=RunKind.DPO, *, datasets=(), parents=(), status=RunStatus.DONE, **fields):
    run = Run.objects.create(name=name, kind=kind, status=status, **fields)
    run.datasets.set(datasets)
    run.parents.set(parents)
    return run


@pytest.fixture
def viewer(client, django_user_model):
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    return client


@pytest.fixture
def study():
    return make_study()


@pytest.fixture
def participant(study):
    return make_participant(study)


@pytest.fixture
def reward(study, participant):
    return make_run(
        "reward-safety",
        RunKind.REWARD_MODEL,
        datasets=[make_dataset(study, participant, criterion=1)],
        config={"criterion": "safety"},
    )


@pytest.fixture
def policy(study, reward):
    return make_run(
        "modpo-1",
        RunKind.MODPO,
        criterion=study.criteria.first(),
        datasets=[make_dataset(study, make_participant(study), make_participant(study))],
        parents=[reward],
        config={"criterion": "empathy", "weights": {"empathy": 0.5, "safety": 0.5}, "beta": 0.1, "four_bit": False},
        metrics={"curves": curves(), "train_pairs": 180, "held_out_preference": statistic(0.75), "seconds": 12.5},
        environment={"git_commit": "0123456789abcdef", "python": "3.12", "libraries": {"torch": "2.13"}},
    )


def text_of(response):
    """What people read: without tags, white space as it shows."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", response.content.decode()))


def test_a_run_inherits_simulation_and_taint_from_what_it_was_made_from(study, reward, policy):
    assert not policy.is_tainted
    reward.datasets.get().raters.add(make_participant(study, simulated=True).rater)
    assert policy.is_simulated
    reward.datasets.get().raters.first().withdraw()
    assert policy.is_tainted


def test_lineage_of_all_runs_at_once_agrees_with_each_runs_own_walk(study):
    draw = random.Random(3)
    people = [make_participant(study, simulated=number == 4) for number in range(6)]
    datasets = [make_dataset(study, person) for person in people]
    runs = []
    for number in range(25):
        made_for = people[5].rater if number == 20 else None
        runs.append(make_run(f"run-{number}", parents=draw.sample(runs, min(len(runs), 2)), rater=made_for))
    for run, dataset in zip(draw.sample(runs, 6), datasets, strict=True):
        run.datasets.add(dataset)
    people[0].rater.withdraw()
    people[5].rater.withdraw()
    lineage = Lineage.load()
    assert lineage.tainted() == {run.pk for run in runs if run.is_tainted}
    assert lineage.simulated() == {run.pk for run in runs if run.is_simulated}
    assert 0 < len(lineage.tainted()) < len(runs)
    for run in runs:
        assert lineage.ancestors(run.pk) == set(run.lineage().values_list("pk", flat=True))
        step = provenance(run)
        assert bool(step.taints) == run.is_tainted
        assert step.simulated == run.is_simulated


def test_the_list_shows_what_each_run_is_and_what_came_of_it(viewer, study, reward, policy):
    Run.objects.filter(pk=reward.pk).update(metrics={"accuracy": statistic(0.7, n=160)})
    make_run("sft-1", RunKind.SFT, metrics={"curves": {"loss": [[1, 2.0], [2, 1.25]]}})
    make_run("old", metrics={"loss_curve": [0.7, 0.5], "eval_loss": [0.6]})
    make_run(
        "shared", RunKind.REWARD_MODEL, metrics={"accuracy": {"empathy": statistic(0.7), "safety": statistic(0.6)}}
    )
    text = text_of(viewer.get(reverse(LIST)))
    for part in ("MODPO", "0.75 [0.65, 0.85]held-out accuracy, n 40", "0.70 [0.60, 0.80]held-out accuracy, n 160"):
        assert part in text
    assert "1.25final loss" in text
    assert "empathy 0.70 [0.60, 0.80], safety 0.60 [0.50, 0.70]" in text
    assert "tainted" not in text.split("By tainted")[0].replace("Filter", "")


def test_the_list_marks_what_is_simulated_or_tainted_and_filters_by_it(viewer, study, participant, reward, policy):
    clean = make_run("clean", datasets=[make_dataset(study, make_participant(study))])
    simulated = make_run("from-files", environment={"simulated": True})
    heir = make_run("heir", RunKind.MERGE, parents=[simulated, clean])
    participant.rater.withdraw()

    def shown(query):
        return {run.name for run in viewer.get(reverse(LIST), query).context["cl"].result_list}

    assert shown({"tainted": "yes"}) == {reward.name, policy.name}
    assert shown({"tainted": "no"}) == {"clean", "from-files", "heir"}
    assert shown({"simulated": "yes"}) == {"from-files", heir.name}
    assert shown({"simulated": "no"}) == {"clean", reward.name, policy.name}
    assert shown({"simulated": "perhaps"}) == shown({})
    page = viewer.get(reverse(LIST)).content.decode()
    assert page.count('<span class="run-mark run-tainted">') == 2
    assert page.count('<span class="run-mark run-simulated">') == 2


def test_the_list_filters_by_study_through_criteria_data_sets_and_parents(viewer, study, policy, reward):
    other = make_study()
    merged = make_run("merged", RunKind.MERGE, parents=[policy])
    make_run("elsewhere", datasets=[make_dataset(other, make_participant(other))])
    wrote = make_run("wrote", RunKind.GENERATION, system=make_system(other))

    def shown(value):
        return {run.name for run in viewer.get(reverse(LIST), {"study": value}).context["cl"].result_list}

    assert shown(study.pk) == {policy.name, reward.name, merged.name}
    assert shown(other.pk) == {"elsewhere", wrote.name}
    assert len(shown("9999")) == len(shown("what")) == 5


def queries(client, address):
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


@pytest.mark.parametrize("query", ["", "?tainted=yes&simulated=no"])
def test_the_list_takes_as_many_queries_for_many_runs(viewer, study, query):
    def add(number, parents):
        person = make_participant(study)
        run = make_run(f"run-{number}", criterion=study.criteria.first(), datasets=[make_dataset(study, person)])
        run.parents.set(parents)
        person.rater.withdraw()
        return run

    runs = [add(0, [])]
    one = queries(viewer, reverse(LIST) + query)
    for number in range(1, 30):
        runs.append(add(number, runs[-1:]))
    assert queries(viewer, reverse(LIST) + query) == one <= 24


def test_pages_take_as_many_queries_for_a_long_lineage(viewer, study):
    def chain(length, name):
        runs = [make_run(f"{name}-0", datasets=[make_dataset(study, make_participant(study))])]
        for number in range(1, length):
            dataset = make_dataset(study, make_participant(study), make_participant(study))
            runs.append(make_run(f"{name}-{number}", parents=runs[-1:], datasets=[dataset]))
        return runs[-1]

    short, long = chain(2, "short"), chain(15, "long")
    assert queries(viewer, page_of(long)) == queries(viewer, page_of(short)) <= 20
    assert queries(viewer, compare(long, long)) == queries(viewer, compare(short, short)) <= 25


def test_the_data_sets_list_takes_as_many_queries_for_many_rows(admin_client, study):
    address = reverse("admin:training_preferencedataset_changelist")
    make_dataset(study, make_participant(study))
    one = queries(admin_client, address)
    for _ in range(12):
        make_dataset(study, make_participant(study))
    assert queries(admin_client, address) == one


def test_the_page_of_a_run_tells_settings_results_and_how_to_repeat_it(viewer, policy):
    response = viewer.get(page_of(policy))
    text = text_of(response)
    for part in (
        "weights: safety 0.5",
        "four bit no",
        "strength of the KL penalty",
        "0.75 [0.65, 0.85]n 40",
        "python manage.py train_modpo --weight empathy=0.5 --weight safety=0.5 --beta 0.1 --no-four-bit",
        f"--study {policy.criterion.study.slug} --reward-run safety=reward-safety",
        "With the code of commit 0123456789ab",
        "libraries: torch 2.13",
        "6 updates on 180 training pairs; 40 pairs held out",
    ):
        assert part in text
    assert "{" not in text
    assert [chart.key for chart in response.context["page"].charts] == ["loss", "margin", "accuracy", "learning_rate"]
    assert "Held out: from 0.61 at update 3 to 0.52 at update 6." in response.content.decode()


def test_provenance_leads_to_rankings_raters_and_consent_versions(admin_client, study, participant, reward, policy):
    document = study.consent_documents.get()
    ConsentRecord.objects.create(
        participant=participant, document=document, document_sha256=document.sha256, agreed=True
    )
    two = policy.datasets.get().raters.first().participant
    ConsentRecord.objects.create(participant=two, document=document, document_sha256=document.sha256, agreed=True)
    response = admin_client.get(page_of(policy))
    page, text = response.content.decode(), text_of(response)
    assert page_of(reward) in page
    for dataset in PreferenceDataset.objects.all():
        assert reverse("admin:training_preferencedataset_change", args=[dataset.pk]) in page
    assert text.count("8 rankings, which make 40 pairs") == 2
    assert text.count("1 agreed to consent version 1") == 2
    assert "2 participants" in text
    assert "1 participant " in text
    assert "tainted" not in text


def test_each_step_from_a_withdrawn_rater_on_is_marked_tainted_with_the_reason(viewer, participant, reward, policy):
    merged = make_run("merged", RunKind.MERGE, parents=[policy, reward])
    participant.rater.withdraw()
    response = viewer.get(page_of(merged))
    text = text_of(response)
    reason = f"1 rater behind data set {reward.datasets.get()}"
    assert f"Tainted. It goes back to people who have withdrawn since: {reason}." in text
    assert "tainted: 1 has withdrawn since, the last on" in text
    # MODPO, the reward model below it, and the reward model again as a parent of its own.
    assert text.count(f"tainted by the withdrawal of {reason}") == 3
    assert "made from what stands above" in text
    first, second = response.context["page"].step.parents
    assert (first.run, second.run) == (reward, policy)
    (clean,) = second.sources
    assert not clean.withdrawn


def test_a_run_made_for_a_person_says_so_and_is_tainted_once_the_person_withdraws(viewer, study, policy):
    person = make_participant(study)
    personal = make_run("personal", RunKind.MERGE, parents=[policy], rater=person.rater)
    assert f"What matters to {person}" in text_of(viewer.get(page_of(personal)))
    person.rater.withdraw()
    assert "people who have withdrawn since: the person that personal was made for" in text_of(
        viewer.get(page_of(personal))
    )


def test_simulated_raters_are_told_on_the_page_and_under_the_curves(viewer, study, reward, policy):
    assert "simulated" not in text_of(viewer.get(page_of(policy))).lower()
    reward.datasets.get().raters.add(make_participant(study, simulated=True).rater)
    text = text_of(viewer.get(page_of(policy)))
    assert "Simulated. It learned from simulated raters" in text
    assert "Learned from simulated raters." in text
    assert "1 participant, 1 simulated participant" in text


def test_files_are_listed_with_sizes_and_inputs_with_hashes(viewer, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    folder = tmp_path / "runs" / "dpo"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"0" * 2048)
    (folder / "run.json").write_text(json.dumps({"files": [{"path": "pairs.jsonl", "sha256": "ab" * 32}]}))
    run = make_run("dpo", path="runs/dpo", config={"criterion": "empathy"})
    text = text_of(viewer.get(page_of(run)))
    assert "adapter_model.safetensors2.0" in text
    assert "File pairs.jsonl, SHA-256 abababababab" in text
    assert "train_dpo --criterion empathy --pairs pairs.jsonl" in text


@pytest.mark.parametrize("content", [None, "{ cut off"])
def test_a_folder_that_is_gone_or_damaged_does_not_break_the_page(viewer, settings, tmp_path, content):
    settings.VAR_DIR = tmp_path
    if content:
        (tmp_path / "gone").mkdir()
        (tmp_path / "gone" / "run.json").write_text(content)
    text = text_of(viewer.get(page_of(make_run("gone", path="gone"))))
    assert ("is not on this machine" in text) == (content is None)


def test_a_failed_run_says_why(viewer):
    run = make_run("bad", status=RunStatus.FAILED, error="the loss is no longer a number <lower it>")
    page = viewer.get(page_of(run)).content.decode()
    assert "the loss is no longer a number &lt;lower it&gt;" in page


def test_a_running_run_says_how_far_it_is(viewer, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    state = tmp_path / "runs" / ".now.partial" / "checkpoints"
    for step, loss in ((9, 0.6), (20, 0.45)):
        (state / f"checkpoint-{step}").mkdir(parents=True)
        log = {"global_step": step, "max_steps": 90, "log_history": [{"loss": loss}, {"eval_loss": 1}]}
        (state / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(log))
    process = {"host": socket.gethostname()}
    run = make_run("now", status=RunStatus.RUNNING, path="runs/now", environment={"process": process})
    with SignOfLife(state.parent):
        text = text_of(viewer.get(page_of(run)))
        assert "Running" in text_of(viewer.get(reverse(LIST)))
    assert "It is running" in text
    assert "Its last checkpoint is of update 20 of 90, with a loss of 0.450." in text


def test_a_run_whose_process_is_gone_is_shown_as_stopped(viewer):
    process = {"host": socket.gethostname()}
    run = make_run(
        "dead", status=RunStatus.RUNNING, path="runs/dead", environment={"process": process}, error="the GPU was full"
    )
    assert state_of(run) == "Stopped"
    text = text_of(viewer.get(page_of(run)))
    assert "It left no checkpoint" in text
    assert "the GPU was full" in text


def test_curves_of_older_runs_are_left_out(viewer):
    run = make_run("old", metrics={"loss_curve": [0.7, 0.5], "eval_loss": [0.6], "updates": 2})
    response = viewer.get(page_of(run))
    assert response.context["page"].charts == []
    assert [row.name for row in response.context["page"].results] == ["updates"]


def test_lists_of_records_become_tables_and_undefined_statistics_say_why(viewer):
    run = make_run(
        "reward",
        RunKind.REWARD_MODEL,
        metrics={
            "accuracy": {"value": None, "low": None, "high": None, "n": 0, "reason": "no pairs were held out"},
            "learning_curve": [{"pairs": 50, "accuracy": statistic(0.6)}, {"pairs": 100}],
            "points": [[1, 0.5], [2, 0.25]],
        },
    )
    response = viewer.get(page_of(run))
    assert "undefinedno pairs were held out" in text_of(response)
    curve, points = response.context["page"].tables
    assert curve.head == ["pairs", "held-out accuracy"]
    assert [[str(cell) for cell in row] for row in curve.rows] == [["50", "0.60 [0.50, 0.70] (n 40)"], ["100", ""]]
    assert points.head == []


def test_two_runs_stand_side_by_side_differing_settings_first(viewer, policy):
    other = make_run(
        "dpo-1",
        config={"criterion": "empathy", "weights": {"empathy": 1.0}, "beta": 0.1, "rank": 16},
        metrics={"curves": curves(4), "train_pairs": 90, "held_out_preference": statistic(0.8)},
        environment={"git_commit": "fedcba9876543210", "python": "3.12", "libraries": {"torch": "2.13"}},
    )
    response = viewer.get(compare(policy, other))
    comparison = response.context["comparison"]
    differing = [(pair.name, str(pair.first), str(pair.second)) for pair in comparison.settings.differing]
    assert differing == [
        ("weights: empathy", "0.5", "1"),
        ("weights: safety", "0.5", "absent"),
        ("four bit", "no", "absent"),
        ("rank", "absent", "16"),
    ]
    assert [pair.name for pair in comparison.settings.equal] == ["criterion", "beta"]
    assert [pair.name for pair in comparison.origins.differing] == ["data sets", "made from runs", "git commit"]
    assert comparison.results[0].name == "held-out accuracy"
    assert [str(comparison.results[0].first), str(comparison.results[0].second)] == [
        "0.75 [0.65, 0.85] (n 40)",
        "0.80 [0.70, 0.90] (n 40)",
    ]
    assert [line.label for line in comparison.charts[0].lines] == ["A", "A, held out", "B", "B, held out"]
    assert "A: 6 updates on 180 training pairs" in text_of(response)


def test_settings_that_look_alike_when_rounded_still_differ(viewer):
    first, second = (make_run(f"run-{rate}", config={"rate": rate}) for rate in (0.123456, 0.123457))
    (pair,) = viewer.get(compare(first, second)).context["comparison"].settings.differing
    assert str(pair.first) != str(pair.second)


def test_a_run_compared_with_itself_differs_in_nothing(viewer, policy):
    text = text_of(viewer.get(compare(policy, policy)))
    assert text.count("All are the same.") == 2


def test_a_tainted_run_is_named_when_it_is_compared(viewer, participant, policy):
    other = make_run("other")
    participant.rater.withdraw()
    text = text_of(viewer.get(compare(other, policy)))
    assert "Tainted. modpo-1 goes back to people who have withdrawn since" in text
    assert text.count("Tainted.") == 1


def test_the_action_leads_two_runs_to_their_comparison(viewer, reward, policy):
    data = {"action": "compare", "_selected_action": [policy.pk, reward.pk]}
    response = viewer.post(reverse(LIST), data)
    assert response.status_code == 302
    assert response["Location"] == compare(reward, policy)


@pytest.mark.parametrize("number", [1, 3])
def test_the_action_asks_for_two_runs(viewer, number):
    runs = [make_run(f"run-{index}") for index in range(number)]
    data = {"action": "compare", "_selected_action": [run.pk for run in runs]}
    response = viewer.post(reverse(LIST), data, follow=True)
    assert f"Select two runs to compare: you selected {number}." in text_of(response)


@pytest.mark.parametrize("query", ["", "?a=1", "?a=x&b=y", "?a=99991&b=99992"])
def test_a_comparison_of_unknown_runs_is_a_404(viewer, query):
    assert viewer.get(reverse(COMPARE) + query).status_code == 404


def test_a_run_that_is_not_there_is_a_404(viewer):
    for key in (9999, "none"):
        assert viewer.get(reverse("admin:training_run_change", args=[key])).status_code == 404


def test_runs_are_only_read(admin_client, policy):
    assert admin_client.post(page_of(policy), {"name": "other"}).status_code == 405
    assert admin_client.post(compare(policy, policy)).status_code == 405
    assert admin_client.get(reverse("admin:training_run_add")).status_code == 403
    assert admin_client.post(reverse("admin:training_run_delete", args=[policy.pk])).status_code == 403
    policy.refresh_from_db()
    assert policy.name == "modpo-1"


def test_anonymous_visitors_are_sent_to_the_admins_login(client, policy):
    for address in (reverse(LIST), page_of(policy), compare(policy, policy)):
        response = client.get(address)
        assert response.status_code == 302
        assert response["Location"].startswith(reverse("admin:login"))


def test_clinicians_and_staff_without_the_permission_are_refused(client, django_user_model, policy):
    addresses = (reverse(LIST), page_of(policy), compare(policy, policy))
    client.force_login(django_user_model.objects.create_user("clinician"))
    assert {client.get(address).status_code for address in addresses} == {302}
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    assert {client.get(address).status_code for address in addresses} == {403}


def test_data_sets_are_links_only_for_those_who_may_see_them(viewer, policy):
    page = viewer.get(page_of(policy)).content.decode()
    assert str(policy.datasets.get()) in page
    assert "/preferencedataset/" not in page


def test_pages_hold_no_inline_style_or_script(viewer, policy):
    for address in (reverse(LIST), page_of(policy), compare(policy, policy)):
        page = viewer.get(address).content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", page)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.25, "4.2 s"), (59.99, "60.0 s"), (492, "8 min 12 s"), (3900, "1 h 05 min"), (-1, "0.0 s")]
)
def test_durations_are_told_in_two_units(seconds, text):
    from datetime import UTC, datetime, timedelta

    start = datetime(2026, 5, 3, tzinfo=UTC)
    assert duration(start, start + timedelta(seconds=seconds)) == text
