"""What the team edits of a study in the admin, and the trail it leaves."""

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from annotation.forms.participant import QuestionnaireForm
from annotation.models import AuditEvent, ConsentDocument, ItemKind, Membership, QuestionnaireItem, Role, Study
from tests.annotation.whole_study import lock, whole_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(client, django_user_model):
    user = django_user_model.objects.create_superuser("boss")
    client.force_login(user)
    return client


def edited(client, url, **changes):
    """Post the form that stands on the page, with changes."""
    page = client.get(url)
    forms = [page.context["adminform"].form]
    for inline in page.context.get("inline_admin_formsets", []):
        forms += [inline.formset.management_form, *inline.formset.forms]
    data = {bound.html_name: bound.value() for form in forms for bound in form}
    data = {name: value for name, value in data.items() if value is not None and value is not False}
    return client.post(url, {**data, **changes})


def change_url(record):
    return reverse(f"admin:annotation_{record._meta.model_name}_change", args=[record.pk])


def told():
    return list(AuditEvent.objects.values_list("action", "subject", "old", "new", "user__username"))


def test_what_an_edit_of_a_study_changed_is_in_the_trail(boss):
    study = whole_study()
    response = edited(
        boss,
        change_url(study),
        title="A new title",
        **{
            "criteria-0-question": "Which one?",
            "consent_documents-TOTAL_FORMS": "1",
            "consent_documents-0-version": "1",
            "consent_documents-0-information": "What this is about.",
            "consent_documents-0-statements": "I agree.",
        },
    )
    assert response.status_code == 302, response.context["errors"]
    assert ConsentDocument.objects.get().statements == ["I agree."]
    changed, criterion, document = told()
    assert changed == ("study.change", "study A new title", {"title": "Étude"}, {"title": "A new title"}, "boss")
    question = ({"question": "Which?"}, {"question": "Which one?"})
    assert criterion == ("criterion.change", "criterion Empathy", *question, "boss")
    assert document[:3] == ("consentdocument.add", "consent document Consent 1", None)
    assert document[3]["information"] == "What this is about."


def with_consent(client, study, statements):
    """Post the study with a new version of its consent document."""
    number = study.consent_documents.count()
    document = {"version": str(number + 1), "information": "What this is about.", "statements": statements}
    new = {f"consent_documents-{number}-{name}": value for name, value in document.items()}
    return edited(client, change_url(study), **{"consent_documents-TOTAL_FORMS": str(number + 1), **new})


def test_each_line_is_a_statement_and_is_shown_as_one(boss):
    study = whole_study()
    assert with_consent(boss, study, "I am 18 or older.\r\n\r\n  I agree to <all> of it. \r\n").status_code == 302
    assert ConsentDocument.objects.get().statements == ["I am 18 or older.", "I agree to <all> of it."]
    page = boss.get(change_url(study)).content.decode()
    assert "I am 18 or older.<br>I agree to &lt;all&gt; of it." in page
    assert with_consent(boss, study, "I agree.").status_code == 302
    assert [document.statements for document in study.consent_documents.order_by("pk")] == [
        ["I am 18 or older.", "I agree to <all> of it."],
        ["I agree."],
    ]


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (" \r\n ", "Write at least one statement"),
        ("Yes.\r\n" + "I agree " * 63, "Statement 2 has 503 characters, at most 500 fit."),
    ],
)
def test_consent_without_statements_or_with_endless_ones_is_refused_at_its_field(boss, statements, error):
    response = with_consent(boss, whole_study(), statements)
    assert response.status_code == 200
    inline = next(part for part in response.context["inline_admin_formsets"] if part.opts.model is ConsentDocument)
    assert error in str(inline.formset.forms[-1].errors["statements"])
    assert not ConsentDocument.objects.exists()


@pytest.mark.parametrize(
    "statements", [[], "I agree", {"a": "I agree"}, [1, 2], ["I agree", ""], [" "], [["I agree"]], None, ["I" * 501]]
)
def test_a_document_holds_texts_alone(statements):
    document = ConsentDocument(study=whole_study(), version="1", information="This.", statements=["I agree"])
    document.full_clean()
    document.statements = statements
    with pytest.raises(ValidationError) as caught:
        document.full_clean()
    assert set(caught.value.message_dict) == {"statements"}


def test_statements_saved_before_they_were_checked_are_still_shown(boss):
    study = whole_study()
    for version, statements in enumerate(["I agree", [1, 2], {"a": "I agree"}]):
        ConsentDocument.objects.create(study=study, version=version, information="This.", statements=statements)
    page = boss.get(change_url(study)).content.decode()
    for shown in ("I agree", "1<br>2", "{&#x27;a&#x27;: &#x27;I agree&#x27;}"):
        assert f'<div class="readonly">{shown}</div>' in page


def test_an_edit_that_changes_nothing_leaves_no_trail(boss):
    assert edited(boss, change_url(whole_study())).status_code == 302
    assert told() == []


def add_question(client, study, *, options, kind="likert"):
    question = {"key": "sleep", "position": 2, "section": "You", "text": "Do you sleep?", "kind": kind}
    url = reverse("admin:annotation_questionnaireitem_add")
    return client.post(url, {"study": study.pk, **question, "options": options})


def test_a_question_leaves_its_trail_when_added_changed_and_deleted(boss):
    added = add_question(boss, whole_study(), options="1 = Badly\r\n5 = Well")
    assert added.status_code == 302, added.context["errors"]
    item = QuestionnaireItem.objects.get(key="sleep")
    assert edited(boss, change_url(item), text="How do you sleep?").status_code == 302
    boss.post(reverse("admin:annotation_questionnaireitem_delete", args=[item.pk]), {"post": "yes"})
    add, change, delete = told()
    assert (add[0], add[2], add[3]["text"]) == ("questionnaireitem.add", None, "Do you sleep?")
    assert change[:4] == (
        "questionnaireitem.change",
        "questionnaire item sleep",
        {"text": "Do you sleep?"},
        {"text": "How do you sleep?"},
    )
    assert (delete[0], delete[2]["text"], delete[3]) == ("questionnaireitem.delete", "How do you sleep?", None)


OPTIONS = [{"value": "weekly", "label": "Once a week"}, {"value": "more", "label": "More, 7 = daily"}]


@pytest.mark.parametrize("kind", ItemKind.values)
def test_each_line_is_an_option_that_participants_choose_from(boss, kind):
    study = whole_study()
    add_question(boss, study, kind=kind, options=" weekly=Once a week\r\n\r\nmore = More, 7 = daily\r\n")
    item = QuestionnaireItem.objects.get(key="sleep")
    assert item.options == OPTIONS
    lines = boss.get(change_url(item)).context["adminform"].form["options"].value()
    assert lines == "weekly = Once a week\nmore = More, 7 = daily"
    assert edited(boss, change_url(item), optional="on").status_code == 302
    assert (told()[-1][2], told()[-1][3]) == ({"optional": False}, {"optional": True})
    form = QuestionnaireForm(items=[item], rater=study.raters.first())
    assert [option.choice_label for option in form["sleep"]] == ["Once a week", "More, 7 = daily"]


@pytest.mark.parametrize("kind", ItemKind.values)
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("", "Write at least one option: every kind of question is answered by choosing."),
        ("weekly = Once a week\r\nnever", 'Write "never" as value = Label, such as weekly = Once a week.'),
        ("weekly = Once a week\r\n= Never", "Option 2 must be a value and a label"),
        ("weekly = Once a week\r\nnever =", "Option 2 must be a value and a label"),
        ("weekly = Once a week\r\nweekly = Never", "Option 2: the value weekly was given before."),
    ],
)
def test_what_is_no_option_is_refused_at_its_field(boss, kind, options, error):
    response = add_question(boss, whole_study(), kind=kind, options=options)
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == ["options"]
    assert error in errors["options"][0]
    assert not QuestionnaireItem.objects.filter(key="sleep").exists()


@pytest.mark.parametrize(
    "options",
    [
        [],
        None,
        "yes",
        ["yes", "no"],
        {"value": "a"},
        [{"value": "a"}],
        [{"value": 1, "label": "One"}],
        [{"value": "a", "label": " "}],
        [{"value": "a", "label": "A", "help": "A"}],
        [{"value": "a=b", "label": "A"}],
        [{"value": "a", "label": "A\nB"}],
        [{"value": "a", "label": "A"}, {"value": "a ", "label": "B"}],
    ],
)
def test_a_question_holds_options_alone(options):
    item = QuestionnaireItem(study=whole_study(), key="k", position=2, section="You", text="?", kind="single")
    item.options = OPTIONS
    item.full_clean()
    item.options = options
    with pytest.raises(ValidationError) as caught:
        item.full_clean()
    assert set(caught.value.message_dict) == {"options"}


@pytest.mark.parametrize(
    ("options", "shown"),
    [(["yes", "no"], "yes\nno"), ("yes", "yes"), ([{"value": "a"}], "{&#x27;value&#x27;: &#x27;a&#x27;}")],
)
def test_options_saved_before_they_were_checked_can_be_mended(boss, options, shown):
    whole_study()
    item = QuestionnaireItem.objects.get()
    QuestionnaireItem.objects.update(options=options)
    assert f">\n{shown}</textarea>" in boss.get(change_url(item)).content.decode()
    assert edited(boss, change_url(item), options="yes = Yes").status_code == 302
    assert QuestionnaireItem.objects.get().options == [{"value": "yes", "label": "Yes"}]


def test_who_may_not_edit_a_question_reads_its_options_a_line_each(client, django_user_model):
    study = whole_study()
    QuestionnaireItem.objects.update(options=OPTIONS)
    user = django_user_model.objects.create_user("reader")
    Membership.objects.admit(study, user, Role.RESEARCHER)
    client.force_login(user)
    page = client.get(change_url(QuestionnaireItem.objects.get())).content.decode()
    assert "weekly = Once a week<br>more = More, 7 = daily" in page
    assert "<textarea" not in page


def test_a_locked_study_takes_no_question_and_keeps_its_own(boss):
    locked = lock(whole_study())
    item = QuestionnaireItem.objects.get()
    before = told()
    assert boss.get(change_url(item)).status_code == 200
    assert boss.post(change_url(item), {"text": "Another"}).status_code == 403
    assert boss.post(reverse("admin:annotation_questionnaireitem_delete", args=[item.pk])).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [item.pk], "post": "yes"}
    boss.post(reverse("admin:annotation_questionnaireitem_changelist"), selected)
    form = boss.get(reverse("admin:annotation_questionnaireitem_add")).context["adminform"].form
    assert locked not in form.fields["study"].queryset
    assert QuestionnaireItem.objects.get() == item
    assert told() == before


def test_a_locked_study_is_shown_and_not_edited(boss):
    locked = lock(whole_study())
    assert edited(boss, change_url(locked), title="Another").status_code == 302
    assert Study.objects.get().title == "Étude"
