"""Until a study is unblinded nothing that the report sends tells its systems apart: every address is walked."""

import json
import re

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import caches
from django.urls import reverse

from annotation.models import Choice, FlagKind, Rater, SafetyFlag, Side, StudyStatus
from evaluation.report import PAGES, source_of
from evaluation.report_pdf import content
from tests.evaluation.judged import make_judge, submit
from tests.factories import (
    make_assignment,
    make_clinician,
    make_comparison,
    make_participant,
    make_prompt,
    make_ranking,
    make_response,
    make_study,
    make_system,
    make_task,
)

pytestmark = pytest.mark.django_db

# Times, hashes and the form's token.
MOMENTS = r"\d\d? \w+ \d{4}|\d\d:\d\d|[0-9a-f]{64}|[0-9A-Za-z]{64}"
SYSTEMS = ("Zephyrine", "Quokkabert")


@pytest.fixture(autouse=True)
def _empty_cache():
    caches["reports"].clear()


@pytest.fixture
def team(client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("team"))
    return client


def blind_study(*, favoured=1, locked=True):
    """Four clinicians favour the system of that place, one the other, and so do two participants and a third; texts
    that do not name their systems."""
    study = make_study(criteria=("empathy", "safety"), slug=f"blind-{favoured}", seed=7)
    systems = [make_system(study, name=name) for name in SYSTEMS]
    people = [make_clinician(study) for _ in range(5)]
    for place, rater in enumerate(people):
        # Tables sort by name: of numbers counted on over tests, 10 stands before 9.
        rater.name = f"C{place}"
        rater.save()
    judge = make_judge(study, name="arbiter")
    for number in range(12):
        comparison = make_comparison(make_prompt(study, key=f"q{number}", text=f"Post {number}."), *systems)
        for response, words in ((comparison.response_a, "gentle"), (comparison.response_b, "brisk")):
            response.key, response.text = f"r{response.pk}", f"A {words} answer to q{number}."
            response.save()
        for place, rater in enumerate(people):
            a_on_left = bool((number + place) % 2)
            assignment = make_assignment(comparison, rater, a_on_left=a_on_left)
            if number == 0:
                assignment.explain("It stays with the person.")
                # The same response for all, a side of its own for each.
                side = Side.LEFT if a_on_left == (favoured == 0) else Side.RIGHT
                SafetyFlag.objects.create(assignment=assignment, side=side, kind=FlagKind.OTHER, note="Read this")
            wins = (place < 4) == (favoured == 0)
            choice = Choice.LEFT if wins == a_on_left else Choice.RIGHT
            assignment.submit(dict.fromkeys(study.criteria.all(), choice))
        submit(comparison, judge, Choice.LEFT)
        submit(comparison, judge, Choice.RIGHT, a_on_left=False, presentation=2)
    rank_blindly(study, systems, favoured)
    if locked:
        study.advance(StudyStatus.CLOSED)
        study.advance(StudyStatus.LOCKED)
    return study


def rank_blindly(study, systems, favoured):
    people = [make_participant(study).rater for _ in range(3)]
    for number in range(3):
        prompt = make_prompt(study, key=f"t{number}", text=f"Post to rank {number}.")
        responses = [make_response(prompt, system, text="An answer.") for system in systems]
        for place, rater in enumerate(people):
            task = make_task(rater, prompt)
            best = favoured if place < 2 else 1 - favoured
            for criterion in study.criteria.all():
                make_ranking(task, criterion, [responses[best], responses[1 - best]])


def page_of(study, slug):
    return reverse("admin:evaluation_studyreport_page", args=[study.pk, slug])


def walked(client, study, folder):
    """{address: text} of every page that can be reached from the overview, and of all files it links to. In place of
    the PDF stands what it prints; a figure's would hold what its SVG does."""
    found = {}
    left = [reverse("admin:evaluation_studyreport_change", args=[study.pk])]
    while left:
        address = left.pop()
        if address.endswith(".pdf"):
            # The methods are the same for every study.
            whole = address.endswith("/report.pdf")
            found[address] = json.dumps({**content(source_of(study), folder), "methods": []}) if whole else ""
            continue
        response = client.get(address, {"compute": 1, "page": 1})
        assert response.status_code == 200, address
        found[address] = response.content.decode()
        links = re.findall(r'(?:href|src)="([^"]+)"', found[address]) if "text/html" in response["Content-Type"] else []
        base = re.sub(r"[^/]*$", "", address)
        links = [re.sub(r"[^/]+/\.\./", "", base + link) if link.startswith("../") else link for link in links]
        own = f"/admin/evaluation/studyreport/{study.pk}/"
        left += [link for link in dict.fromkeys(links) if link.startswith(own) and link not in {*found, *left}]
    return found


@pytest.mark.parametrize("locked", [False, True])
def test_no_address_names_a_system_or_a_judges_opinion(team, locked, tmp_path):
    study = blind_study(locked=locked)
    found = walked(team, study, tmp_path)
    kinds = {re.sub(r".*\.|.*/", "", address) for address in found}
    assert {"", "svg", "csv", "tex", "pdf"} <= kinds
    assert len(found) > 30
    for address, text in found.items():
        for system in SYSTEMS:
            assert system.lower() not in text.lower(), address
        for words in ("better", "win rate", "arbiter with clinician", "beside the clinicians"):
            assert words not in text.lower(), address


def test_who_wins_changes_nothing_but_what_identifies_the_study(team, tmp_path):
    """Two studies alike but for the winner give the same pages, figures and files."""

    def told(study):
        raters = list(study.raters.order_by("pk"))
        same = {
            study.slug: "S",
            study.title: "S",
            f"study/{study.pk}/": "study/S/",
            f"studyreport/{study.pk}/": "studyreport/S/",
        }
        same |= {f"rater-{rater.pk}": f"rater-{place}" for place, rater in enumerate(raters)}
        pages = {}
        for address, text in walked(team, study, tmp_path).items():
            # Drawings show what the pages say.
            if address.endswith(".svg"):
                continue
            for old, new in same.items():
                address, text = address.replace(old, new), text.replace(old, new)
            # Which of two texts comes first hangs on the pair's key alone.
            pages[address] = re.sub(MOMENTS, "T", re.sub("gentle|brisk", "kind", text))
        return pages

    first, second = told(blind_study(favoured=0)), told(blind_study(favoured=1))
    assert first.keys() == second.keys()
    for address in first:
        assert first[address] == second[address], address


def test_pages_of_outcomes_are_not_there(team):
    study = blind_study()
    for page in PAGES:
        expected = 200 if page.for_the_blind else 404
        assert team.get(page_of(study, page.slug)).status_code == expected
    for slug in ("outcomes", "confusion"):
        figure = reverse("admin:evaluation_studyreport_figure_svg", args=[study.pk, slug, "outcomes-1"])
        assert team.get(figure).status_code == 404


def test_a_judge_cannot_be_chosen_while_blind(team):
    study = blind_study()
    response = team.get(page_of(study, "agreement"), {"raters": "arbiter"})
    assert response.status_code == 422
    assert not source_of(study).judges


def test_disagreements_give_texts_in_an_order_of_their_own_and_votes_without_sides(team):
    study = blind_study()
    readings = team.get(page_of(study, "disagreements"), {"compute": 1}).context["readings"]
    firsts = {reading.texts[0].text.split()[1] for reading in readings}
    assert firsts == {"gentle", "brisk"}
    assert {text.name for reading in readings for text in reading.texts} == {"Response 1", "Response 2"}
    assert {split for reading in readings for _, split in reading.splits} == {"4 against 1, 0 ties"}


def test_flags_show_both_texts_and_not_which_of_them_is_meant(team):
    (one, *_) = team.get(page_of(blind_study(), "flags"), {"compute": 1}).context["flagged"]
    assert {text.name for text in one.texts} == {"Response 1", "Response 2"}
    assert {text.text for text in one.texts} == {"A gentle answer to q0.", "A brisk answer to q0."}


def test_the_way_to_unblind_shows_once_the_study_is_locked_to_who_may(client, django_user_model):
    study = blind_study(favoured=0, locked=False)
    viewer = django_user_model.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_studyreport"))
    superuser = django_user_model.objects.create_superuser("boss")

    def offered(user):
        client.force_login(user)
        return "unblind it" in client.get(page_of(study, "overview")).content.decode()

    assert not offered(superuser)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    assert offered(superuser)
    assert not offered(viewer)
    study.unblind()
    assert not offered(superuser)


def test_unblinding_opens_the_pages(team):
    study = blind_study()
    team.get(page_of(study, "overview"), {"compute": 1})
    study.unblind()
    text = team.get(page_of(study, "outcomes"), {"compute": 1}).content.decode()
    assert f"{SYSTEMS[1]} better" in text
    assert Rater.objects.filter(study=study).count() == 9
