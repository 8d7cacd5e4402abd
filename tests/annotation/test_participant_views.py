import re

import pytest
from django.test import Client
from django.urls import reverse

from annotation import participation
from annotation.models import (
    Answer,
    AuditEvent,
    ConsentRecord,
    ItemKind,
    PanelLink,
    Participant,
    ParticipantStatus,
    QuestionnaireItem,
    Ranking,
    RankingTask,
    Split,
    StudyStatus,
)
from tests.factories import make_prompt, make_study

pytestmark = pytest.mark.django_db

RANKS = {f"rank_{letter}": str(rank) for rank, letter in enumerate("ABCDE", start=1)}
HTMX = {"HTTP_HX_REQUEST": "true"}


def make_item(study, key, *, kind=ItemKind.SINGLE, optional=True, section="About you"):
    return QuestionnaireItem.objects.create(
        study=study,
        key=key,
        position=study.questionnaire_items.count() + 1,
        section=section,
        text=f"What about {key}?",
        kind=kind,
        options=[{"value": value, "label": value.title()} for value in ("yes", "no", "none")],
        optional=optional,
    )


@pytest.fixture
def study():
    study = make_study(full_code="FULL1234", content_note="Some posts are hard to read.")
    for _ in range(3):
        make_prompt(study, responses=5, topic="low_mood")
    return study


def url(name, study, *args):
    return reverse(f"annotation:{name}", args=[study.slug, *args])


def agree(client, study, query=""):
    return client.post(url("information", study) + query, {"decision": "agree", "statement_1": "on"})


@pytest.fixture
def taking_part(client, study):
    """A client who agreed and begins the first post."""
    agree(client, study)
    client.post(url("note", study, 1), {"action": "continue"})
    return client


def test_the_information_page_shows_text_and_statements_and_is_not_kept(client, study):
    response = client.get(url("information", study))
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert "What we ask of you." in response.text
    assert "I agree." in response.text
    assert not Participant.objects.exists()


def test_agreeing_records_the_version_and_the_hash_and_holds_a_post(client, study):
    response = agree(client, study)
    assert response.url == url("note", study, 1)
    record = ConsentRecord.objects.get()
    assert (record.agreed, record.document_sha256) == (True, study.current_consent().sha256)
    assert re.fullmatch(r"P-[0-9a-f]{6}", record.participant.rater.name)
    assert RankingTask.objects.get().rater == record.participant.rater


def test_agreeing_without_a_statement_is_refused_in_words(client, study):
    response = client.post(url("information", study), {"decision": "agree"})
    assert response.status_code == 422
    assert "tick every statement" in response.text
    assert not Participant.objects.exists()


def test_an_empty_post_is_an_invalid_decision(client, study):
    assert client.post(url("information", study), {}).status_code == 422


def test_declining_needs_no_tick_and_ends_on_its_own_page_with_its_code(client, study):
    response = client.post(url("information", study), {"decision": "decline"}, follow=True)
    assert response.redirect_chain[-1][0] == url("declined", study)
    assert "NO123456" in response.text
    assert ConsentRecord.objects.get().agreed is False
    assert Participant.objects.get().status == ParticipantStatus.DECLINED
    assert client.get(url("information", study)).url == url("declined", study)


def test_a_study_without_a_declined_code_shows_none(client):
    study = make_study(declined_code="")
    make_prompt(study, responses=5)
    response = client.post(url("information", study), {"decision": "decline"}, follow=True)
    assert "code" not in response.text.split("<main")[1].split("</main>")[0]


@pytest.mark.parametrize("status", [StudyStatus.DRAFT, StudyStatus.CLOSED])
def test_a_study_that_is_not_open_says_so(client, status):
    study = make_study(status=status)
    assert "not open" in client.get(url("information", study), follow=True).text
    assert "not open" in client.post(url("information", study), {"decision": "agree"}, follow=True).text
    assert not Participant.objects.exists()


def without_consent(study):
    study.consent_documents.all().delete()


def without_responses(study):
    study.prompts.update(split=Split.TEST)


def without_criteria(study):
    study.criteria.update(ranked=False)


@pytest.mark.parametrize("make_incomplete", [without_consent, without_responses, without_criteria])
@pytest.mark.parametrize("page", ["information", "closed", "full"])
def test_a_study_that_is_open_too_early_says_that_it_is_not_ready(client, study, make_incomplete, page):
    make_incomplete(study)
    response = client.get(url(page, study), follow=True)
    assert response.status_code == 200
    assert "The study is not ready yet" in response.text
    assert "nothing to take part in so far" in response.text
    for untrue in ("not open", "ended", "full", "FULL1234", "DONE1234", "code"):
        assert untrue not in response.text.split("<main")[1].split("</main>")[0]
    agree(client, study, "?pid=abc")
    assert not Participant.objects.exists()


def test_whoever_takes_part_goes_on_when_the_study_lacks_something_for_newcomers(taking_part, study):
    without_responses(study)
    assert taking_part.get(url("information", study)).url == url("rank", study, 1, "empathy")


def test_when_no_slot_is_left_the_newcomer_gets_the_code_for_that(client, study):
    study.raters_per_task = 1
    study.save()
    for _ in range(3):
        agree(Client(), study)
    response = client.get(url("information", study), follow=True)
    assert response.redirect_chain[-1][0] == url("full", study)
    assert "FULL1234" in response.text


def test_whoever_agrees_as_the_last_slot_goes_is_told_that_the_study_is_full(client, study, monkeypatch):
    monkeypatch.setattr(participation, "claim_task", lambda participant: None)
    response = client.post(url("information", study), {"decision": "agree", "statement_1": "on"}, follow=True)
    assert "FULL1234" in response.text
    assert Participant.objects.get().status == ParticipantStatus.FULL


def test_the_full_page_shows_no_code_while_there_is_room(client, study):
    assert client.get(url("full", study)).url == url("information", study)


def test_a_panel_id_is_kept_as_a_keyed_hash_and_resumes_the_same_person(client, study, settings):
    agree(client, study, "?PROLIFIC_PID=5f3a")
    link = PanelLink.objects.get()
    assert "5f3a" not in link.hash
    settings.SECRET_KEY = "another"
    assert participation.panel_hash("5f3a") != link.hash
    settings.SECRET_KEY = "only-for-development"
    elsewhere = Client()
    assert elsewhere.get(url("information", study) + "?pid=5f3a").url == url("note", study, 1)
    assert agree(elsewhere, study, "?PROLIFIC_PID=5f3a").url == url("note", study, 1)
    assert Participant.objects.count() == 1


def test_two_requests_of_one_panel_id_make_one_participant(study):
    document = study.current_consent()
    first = participation.join(study, document, agreed=True, panel_id="x")
    assert participation.join(study, document, agreed=True, panel_id="x") == first
    assert Participant.objects.count() == 1


STEPS = [
    ("questions", 1),
    ("note", 1),
    ("rank", 1, "empathy"),
    ("ready",),
    ("debrief",),
    ("pause",),
    ("withdraw",),
    ("declined",),
]


@pytest.mark.parametrize("step", STEPS)
def test_a_stranger_is_led_to_the_information_page(client, study, step):
    name, *args = step
    assert client.get(url(name, study, *args)).url == url("information", study)


def test_a_session_of_another_study_opens_nothing(taking_part, study):
    other = make_study()
    make_prompt(other, responses=5)
    for name, *args in STEPS:
        assert taking_part.get(url(name, other, *args)).url == url("information", other)
    assert taking_part.post(url("draft", other, 1, "empathy"), RANKS).url == url("information", other)


def test_no_page_shows_another_persons_task(taking_part, study):
    other = Client()
    agree(other, study)
    mine, theirs = RankingTask.objects.order_by("pk")
    assert other.get(url("rank", study, 1, "empathy")).url == url("note", study, 1)
    assert mine.prompt.text in taking_part.get(url("rank", study, 1, "empathy")).text
    assert theirs.prompt.text not in taking_part.get(url("rank", study, 1, "empathy")).text


@pytest.mark.parametrize(
    ("name", "args", "method"),
    [
        ("information", (), "put"),
        ("questions", (1,), "delete"),
        ("note", (1,), "put"),
        ("rank", (1, "empathy"), "patch"),
        ("draft", (1, "empathy"), "get"),
        ("debrief", (), "post"),
        ("pause", (), "post"),
        ("help", (), "post"),
        ("goodbye", (), "post"),
        ("withdraw", (), "delete"),
    ],
)
def test_a_wrong_method_is_refused(taking_part, study, name, args, method):
    assert getattr(taking_part, method)(url(name, study, *args)).status_code == 405


def test_an_unknown_study_is_not_found(client):
    assert client.get("/s/nowhere/").status_code == 404


def test_the_questionnaire_keeps_answers_and_goes_on_section_by_section(client, study):
    make_item(study, "sleep", optional=False)
    make_item(study, "help", kind=ItemKind.MULTIPLE, section="Your wishes")
    assert agree(client, study).url == url("questions", study, 1)
    refused = client.post(url("questions", study, 1), {})
    assert refused.status_code == 422
    assert "Choose an answer" in refused.text
    assert client.get(url("note", study, 1)).url == url("questions", study, 1)
    assert client.post(url("questions", study, 1), {"sleep": "no"}).url == url("questions", study, 2)
    assert client.get(url("information", study)).url == url("questions", study, 2)
    assert client.post(url("questions", study, 2), {"help": ["yes", "no"]}).url == url("note", study, 1)
    assert dict(Answer.objects.values_list("item__key", "value")) == {"sleep": "no", "help": ["yes", "no"]}
    client.post(url("questions", study, 2), {})
    assert dict(Answer.objects.values_list("item__key", "value")) == {"sleep": "no", "help": []}


def test_optional_questions_may_all_be_left_empty(client, study):
    make_item(study, "sleep")
    make_item(study, "help", section="Your wishes")
    agree(client, study)
    assert client.post(url("questions", study, 1), {}).url == url("questions", study, 2)
    assert client.get(url("information", study)).url == url("questions", study, 2), "a blank section is not asked again"
    assert client.post(url("questions", study, 2), {}).url == url("note", study, 1)


def test_an_option_that_is_not_offered_or_contradicts_is_refused(client, study):
    make_item(study, "help", kind=ItemKind.MULTIPLE)
    agree(client, study)
    for chosen in (["maybe"], ["none", "yes"]):
        assert client.post(url("questions", study, 1), {"help": chosen}).status_code == 422
    assert not Answer.objects.exists()


def test_the_note_comes_before_the_post_and_names_its_subject(client, study):
    agree(client, study)
    text = client.get(url("note", study, 1)).text
    assert "low mood" in text
    assert RankingTask.objects.get().prompt.text not in text
    assert client.get(url("rank", study, 1, "empathy")).url == url("note", study, 1)


def test_a_post_can_be_skipped_before_and_after_reading(client, study):
    agree(client, study)
    assert client.post(url("note", study, 1), {"action": "skip"}).url == url("note", study, 2)
    client.post(url("note", study, 2), {"action": "continue"})
    assert client.post(url("note", study, 2), {"action": "skip"}).url == url("debrief", study)
    assert not Ranking.objects.exists()


def test_the_whole_path_leads_from_criterion_to_criterion_to_the_debrief(taking_part, study):
    page = taking_part.get(url("rank", study, 1, "empathy"))
    assert "Question 1 of 4" in page.text
    for position in (1, 2):
        if position == 2:
            taking_part.post(url("note", study, 2), {"action": "continue"})
        second = taking_part.post(url("rank", study, position, "empathy"), RANKS)
        assert second.url == url("rank", study, position, "safety")
        last = taking_part.post(second.url, RANKS)
    assert last.url == url("debrief", study)
    done = taking_part.get(last.url).text
    participant = Participant.objects.get()
    assert participant.status == ParticipantStatus.COMPLETE
    assert "DONE1234" in done
    assert str(participant.public_id) in done
    assert url("withdraw", study) in done
    assert taking_part.get(url("rank", study, 1, "empathy")).url == url("debrief", study)


def test_a_ranking_is_stored_best_first_and_a_resubmission_replaces_it(taking_part, study):
    taking_part.post(url("rank", study, 1, "empathy"), RANKS)
    turned = {f"rank_{letter}": str(rank) for rank, letter in enumerate("EDCBA", start=1)}
    taking_part.post(url("rank", study, 1, "empathy"), turned)
    ranking = Ranking.objects.submitted().get()
    shown = list(ranking.task.task_responses.order_by("position").values_list("response_id", flat=True))
    assert list(ranking.ranked_responses.values_list("response_id", flat=True)) == shown[::-1]
    assert "selected" in taking_part.get(url("rank", study, 1, "empathy")).text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rank_C": ""}, "Response C has no rank yet."),
        ({"rank_A": "", "rank_B": ""}, "Responses A and B have no rank yet."),
        ({"rank_A": "2"}, "Responses A and B share rank 2."),
        ({"rank_E": "9"}, "Response E has no rank yet."),
        ({"rank_F": "1"}, "belongs to another post"),
    ],
)
def test_an_invalid_ranking_is_answered_with_a_sentence_and_keeps_the_choice(taking_part, study, change, sentence):
    response = taking_part.post(url("rank", study, 1, "empathy"), {**RANKS, **change})
    assert response.status_code == 422
    assert sentence in response.text
    assert '<option value="4" selected>' in response.text
    assert not Ranking.objects.submitted().exists()


def test_an_untouched_ranking_is_never_taken_for_an_answer(taking_part, study):
    page = taking_part.get(url("rank", study, 1, "empathy")).text
    assert page.count('<option value="" selected>') == 5
    assert taking_part.post(url("rank", study, 1, "empathy"), {}).status_code == 422


def test_the_page_tells_nothing_of_who_wrote_a_response(taking_part, study):
    page = taking_part.get(url("rank", study, 1, "empathy")).text
    for response in RankingTask.objects.get().responses.all():
        assert f"rank_{response.pk}" not in page
        assert response.key not in page


def test_htmx_gets_the_form_alone_and_a_history_restore_the_page(taking_part, study):
    address = url("rank", study, 1, "empathy")
    page, part = taking_part.get(address), taking_part.post(address, {}, **HTMX)
    restored = taking_part.get(address, **HTMX, HTTP_HX_HISTORY_RESTORE_REQUEST="true")
    assert "<!doctype html>" in page.text
    assert "HX-Request" in page["Vary"]
    assert part.status_code == 422
    assert part.text.strip().startswith('<form id="ranking"')
    assert "<!doctype html>" in restored.text
    assert taking_part.post(address, RANKS, **HTMX)["HX-Redirect"] == url("rank", study, 1, "safety")


def test_a_draft_is_kept_complete_or_not_and_shown_again(taking_part, study):
    response = taking_part.post(url("draft", study, 1, "empathy"), {"rank_B": "1", "rank_C": "7"}, **HTMX)
    assert response.text == "Saved"
    ranking = Ranking.objects.get()
    second = ranking.task.task_responses.get(position=2)
    assert ranking.draft == {str(second.response_id): 1}
    assert ranking.submitted_at is None
    assert '<option value="1" selected>' in taking_part.get(url("rank", study, 1, "empathy")).text


def test_looking_at_pages_writes_nothing(taking_part, study, django_assert_num_queries):
    def everything():
        models = (Participant, RankingTask, Ranking, Answer, AuditEvent)
        return [list(model.objects.order_by("pk").values()) for model in models]

    before = everything()
    for name, *args in [*STEPS, ("information",), ("help",), ("goodbye",), ("full",), ("closed",)]:
        taking_part.get(url(name, study, *args))
    assert everything() == before


def test_the_ranking_page_takes_as_many_queries_whatever_the_number_of_posts(
    taking_part, study, django_assert_max_num_queries
):
    address = url("rank", study, 1, "empathy")
    with django_assert_max_num_queries(12) as few:
        taking_part.get(address)
    for _ in range(10):
        make_prompt(study, responses=5)
    with django_assert_max_num_queries(len(few)):
        taking_part.get(address)


def test_help_and_ways_out_stand_on_every_page_of_the_work(taking_part, study):
    for name, *args in [("note", 1), ("rank", 1, "empathy"), ("pause",), ("help",), ("withdraw",)]:
        text = taking_part.get(url(name, study, *args)).text
        for words in ("Get help now", "Pause", "Stop and withdraw", "Leave this page"):
            assert words in text.split("<main")[0]


def test_help_shows_the_chosen_country_first_and_needs_no_session(client, study):
    assert 'href="tel:999"' in client.get(url("help", study) + "?country=gb").text
    assert "your local emergency number" in client.get(url("help", study)).text
    assert client.get(reverse("get-help")).status_code == 200


def test_withdrawing_asks_first_then_deletes_and_says_goodbye(taking_part, study):
    assert taking_part.get(url("withdraw", study)).status_code == 200
    response = taking_part.post(url("withdraw", study), follow=True)
    assert response.redirect_chain[-1][0] == url("goodbye", study)
    assert "You can talk to someone" in response.text
    assert not RankingTask.objects.exists()
    assert Participant.objects.get().status == ParticipantStatus.WITHDRAWN
    assert taking_part.get(url("pause", study)).url == url("information", study)


def test_a_closed_study_stops_the_work_but_not_the_withdrawal(taking_part, study):
    study.advance(StudyStatus.CLOSED)
    assert taking_part.post(url("rank", study, 1, "empathy"), RANKS).url == url("closed", study)
    assert taking_part.post(url("withdraw", study)).url == url("goodbye", study)


def test_a_locked_study_says_why_it_cannot_delete(taking_part, study):
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    response = taking_part.post(url("withdraw", study))
    assert response.status_code == 409
    assert "can no longer change" in response.text
    assert RankingTask.objects.exists()


def test_whoever_returns_to_a_post_given_away_gets_another_and_a_word_about_it(taking_part, study):
    study.raters_per_task = 1
    study.save()
    RankingTask.objects.update(slot=None)
    newcomer = Client()
    agree(newcomer, study)
    assert RankingTask.objects.filter(slot=0).get().prompt == RankingTask.objects.filter(slot=None).get().prompt
    response = taking_part.post(url("rank", study, 1, "empathy"), RANKS, follow=True)
    assert response.redirect_chain[-1][0] == url("note", study, 2)
    assert "given to someone else" in response.text


def test_home_sends_a_visitor_nowhere_and_staff_to_the_admin(client, django_user_model):
    assert client.get(reverse("home")).status_code == 200
    client.force_login(django_user_model.objects.create_superuser("lead"))
    assert client.get(reverse("home")).url == reverse("admin:index")
