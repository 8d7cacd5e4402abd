"""Runs and data sets in the admin, with where they came from."""

import pytest
from django.urls import reverse

from tests.factories import make_participant, make_study
from training.models import PreferenceDataset, Run, RunKind, RunStatus

pytestmark = pytest.mark.django_db


@pytest.fixture
def runs():
    study = make_study()
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash="ab" * 32, path="sets/a", pairs=4, rankings=4
    )
    dataset.raters.add(make_participant(study, simulated=True).rater)
    reward = Run.objects.create(name="reward-safety", kind=RunKind.REWARD_MODEL, status=RunStatus.DONE)
    reward.datasets.add(dataset)
    policy = Run.objects.create(name="modpo-1", kind=RunKind.MODPO, status=RunStatus.DONE)
    policy.parents.add(reward)
    return reward, policy


def test_a_run_inherits_simulation_and_taint_from_what_it_was_made_from(runs):
    _, policy = runs
    assert policy.is_simulated
    assert not policy.is_tainted
    PreferenceDataset.objects.get().raters.get().withdraw()
    assert policy.is_tainted


def test_the_admin_links_a_run_to_its_parents_and_data_sets(admin_client, runs):
    reward, policy = runs
    page = admin_client.get(reverse("admin:training_run_change", args=[policy.pk])).content.decode()
    assert reverse("admin:training_run_change", args=[reward.pk]) in page
    page = admin_client.get(reverse("admin:training_run_change", args=[reward.pk])).content.decode()
    assert reverse("admin:training_preferencedataset_change", args=[PreferenceDataset.objects.get().pk]) in page
    assert admin_client.get(reverse("admin:training_run_changelist")).status_code == 200
    assert admin_client.get(reverse("admin:training_preferencedataset_changelist")).status_code == 200


def test_records_of_training_cannot_be_changed_in_the_admin(admin_client, runs):
    address = reverse("admin:training_run_change", args=[runs[0].pk])
    assert admin_client.post(address, {"name": "other"}).status_code == 403
    assert admin_client.get(reverse("admin:training_run_add")).status_code == 403


def test_the_lists_take_as_many_queries_for_many_rows_as_for_few(admin_client, runs, django_assert_max_num_queries):
    study, criterion = PreferenceDataset.objects.get().study, PreferenceDataset.objects.get().criterion
    for number in range(12):
        dataset = PreferenceDataset.objects.create(
            study=study, criterion=criterion, content_hash=f"{number:064}", path=f"sets/{number}", pairs=1, rankings=1
        )
        Run.objects.create(name=f"dpo-{number}", kind=RunKind.DPO, criterion=criterion).datasets.add(dataset)
    for name in ("run", "preferencedataset"):
        with django_assert_max_num_queries(10):
            assert admin_client.get(reverse(f"admin:training_{name}_changelist")).status_code == 200
