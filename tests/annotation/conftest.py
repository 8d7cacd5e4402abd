"""A clinician of the study "care", signed in."""

import pytest

from tests.factories import make_clinician, make_study


@pytest.fixture
def user(django_user_model):
    return django_user_model.objects.create_user("clinician")


@pytest.fixture
def rater(user):
    return make_clinician(make_study(slug="care"), user=user)


@pytest.fixture
def signed_in(client, user):
    client.force_login(user)
    return client
