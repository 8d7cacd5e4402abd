import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from annotation.designs import DesignPlan, draw_design, open_design
from annotation.models import AuditEvent, JudgingDesign, Membership, Role, Split, StudyStatus
from tests.factories import make_clinician, make_prompt, make_response, make_study, make_system

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.fixture
def study():
    return make_study(slug="pilot")


@pytest.fixture
def systems(study):
    systems = [make_system(study, name=name) for name in ("base", "modpo")]
    for index in range(20):
        prompt = make_prompt(study, split=Split.TEST, risk=index < 4, text="word " * (index + 1))
        for system in systems:
            make_response(prompt, system)
    return systems


@pytest.fixture
def member(client, django_user_model):
    """Signs a member of staff in who has these permissions."""

    def sign_in(*permissions):
        user = django_user_model.objects.create_user("member", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return sign_in


ALL = ("view_judgingdesign", "add_judgingdesign", "advance_study")


def drawn(study, systems, **asked):
    return draw_design(study, DesignPlan(**{"name": "main", "systems": systems, "prompts": 10, **asked}))


def page(name, *args):
    return reverse(f"admin:annotation_judgingdesign_{name}", args=args)


def form_of(systems, fields=None):
    return {
        "name": "main",
        "systems": [system.pk for system in systems],
        "prompts": 10,
        "repeated_pairs": 2,
        "seed": 7,
    } | (fields or {})


def test_a_design_is_drawn_by_form_and_shown_for_review(study, systems, member):
    make_clinician(study)
    client = member(*ALL)
    assert client.get(page("add")).context["form"].fields["study"].queryset.get() == study
    add = f"{page('add')}?study={study.pk}"
    assert client.get(add).status_code == 200
    file = SimpleUploadedFile(
        "practice.toml",
        b'[[pairs]]\nprompt = "p"\na = "x"\nb = "y"\n'
        b'verdicts = { empathy = { winner = "A" }, safety = { winner = "tie" } }',
    )
    response = client.post(add, form_of(systems, {"calibration": file}))
    design = JudgingDesign.objects.get()
    assert response.url == page("change", design.pk)
    assert (design.seed, design.repeated_pairs, design.created_by.username) == (7, 2, "member")
    text = client.get(response.url).content.decode()
    for part in ("Not open yet", "Pilot", "Risk, short", "5 of 10", "width", "Open for clinicians"):
        assert part in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": 21}, "20 test prompts"),
        ({"prompts": ""}, "This field is required"),
        ({"systems": []}, "This field is required"),
        ({"raters_per_pair": 0}, "greater than or equal to 1"),
        ({"repeated_pairs": 6}, "choose at most 5"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 2**31}, "less than or equal to 2147483647"),
        ({"prompts": 2**31}, "less than or equal to 2147483647"),
        ({"raters_per_pair": 2**15}, "less than or equal to 32767"),
        ({"repeated_pairs": 2**15}, "less than or equal to 32767"),
        ({"name": "no spaces"}, "valid"),
        ({"calibration": b"pairs = 3"}, "pairs must be of type list"),
        ({"calibration": b"\xff"}, "not UTF-8"),
    ],
)
def test_a_wrong_plan_is_said_on_the_form(study, systems, member, fields, message):
    make_clinician(study)
    if "calibration" in fields:
        fields = {"calibration": SimpleUploadedFile("practice.toml", fields["calibration"])}
    response = member(*ALL).post(f"{page('add')}?study={study.pk}", form_of(systems, fields))
    assert response.status_code == 422
    assert message in response.content.decode()
    assert not JudgingDesign.objects.exists()


def test_systems_of_other_studies_are_not_offered(study, systems, member):
    other = make_system(make_study())
    response = member(*ALL).post(f"{page('add')}?study={study.pk}", form_of([systems[0], other]))
    assert response.status_code == 422


def test_opening_needs_the_tick_and_is_audited(study, systems, member):
    make_clinician(study)
    design = drawn(study, systems)
    client = member(*ALL)
    assert client.post(page("open", design.pk)).status_code == 422
    response = client.post(page("open", design.pk), {"sure": "on"}, follow=True)
    assert "open for clinicians" in response.content.decode()
    design.refresh_from_db()
    assert design.opened_at
    assert AuditEvent.objects.get(action="design.open").user.username == "member"
    text = client.get(page("change", design.pk)).content.decode()
    assert "Open for clinicians</strong> since" in text
    assert "Discard" not in text


def test_what_forbids_opening_is_said(study, systems, member):
    design = drawn(study, systems)
    response = member(*ALL).post(page("open", design.pk), {"sure": "on"}, follow=True)
    assert "has no clinician" in response.content.decode()
    assert not JudgingDesign.objects.filter(opened_at__isnull=False).exists()


def test_a_design_is_discarded_on_its_page(study, systems, member):
    design = drawn(study, systems)
    response = member(*ALL).post(page("discard", design.pk), follow=True)
    assert "free again" in response.content.decode()
    assert not JudgingDesign.objects.exists()


def test_assumptions_are_changed_in_the_address(study, systems, member):
    design = drawn(study, systems)
    client = member(*ALL)
    usual = client.get(page("change", design.pk))
    assert usual.context["expected"][0].precision.raters == 6
    asked = {"raters": 3, "a": 70, "tie": 10, "b": 20, "beyond_chance": 0.7}
    other = client.get(page("change", design.pk), asked).context["expected"][0].precision
    assert (other.raters, other.assumptions.a, other.assumptions.beyond_chance) == (3, 0.7, 0.7)
    wrong = client.get(page("change", design.pk), {"a": 70})
    assert wrong.context["expected"] == []
    assert "add up to 125 %" in wrong.content.decode()


def test_precision_counts_the_clinicians_there_are_until_it_opens_and_then_those_who_were_given_pairs(
    study, systems, member
):
    design = drawn(study, systems, raters_per_pair=2)
    client = member(*ALL)

    def raters():
        return client.get(page("change", design.pk)).context["expected"][0].precision.raters

    make_clinician(study)
    assert raters() == 6  # Too few yet to judge: six are assumed.
    make_clinician(study)
    make_clinician(study)
    assert raters() == 3
    open_design(design)
    make_clinician(study)
    assert raters() == 3


@pytest.mark.parametrize("baseline", [False, True])
def test_what_comes_again_for_a_clinician_is_said_unless_the_pairs_of_a_prompt_go_to_different_ones(
    study, systems, member, baseline
):
    systems.append(make_system(study, name="dpo"))
    for prompt in study.prompts.all():
        make_response(prompt, systems[-1])
    client = member(*ALL)

    def told(name, **asked):
        design = drawn(study, systems, name=name, prompts=4, baseline=systems[0] if baseline else None, **asked)
        return client.get(page("change", design.pk)).content.decode()

    most, whose = (2, "the baseline&#x27;s") if baseline else (3, "which pairs have a system in common")
    sentence = f"A clinician judges up to {most} pairs of one prompt"
    text = told("nobody-there")
    assert sentence in text
    assert whose in text
    for _ in range(3):
        make_clinician(study)
    assert sentence in told("all")
    for _ in range(9):
        make_clinician(study)
    assert "pairs of one prompt" not in told("few", raters_per_pair=1)


def test_each_act_needs_its_permission(study, systems, member, client):
    design = drawn(study, systems)
    assert client.get(page("change", design.pk)).status_code == 302
    client = member("view_judgingdesign")
    assert "Discard" not in client.get(page("change", design.pk)).content.decode()
    assert client.get(page("add")).status_code == 403
    for act in ("open", "discard"):
        assert client.post(page(act, design.pk), {"sure": "on"}).status_code == 403
    assert JudgingDesign.objects.filter(opened_at=None).exists()


@pytest.mark.parametrize(("role", "opens"), [(Role.RESEARCHER, False), (Role.ADMIN, True)])
def test_a_member_reaches_the_designs_of_their_own_study_alone(study, systems, member, role, opens):
    make_clinician(study)
    design = drawn(study, systems)
    client = member()
    Membership.objects.create(study=study, user=get_user_model().objects.get(username="member"), role=role)
    other = make_study()
    hidden = other.designs.create(name="elsewhere", prompts=1)
    assert "elsewhere" not in client.get(page("changelist")).content.decode()
    assert list(client.get(page("add")).context["form"].fields["study"].queryset) == [study]
    assert client.get(f"{page('add')}?study={other.pk}").status_code == 404
    for name in ("change", "phrases"):
        assert client.get(page(name, hidden.pk)).status_code == 404
        assert client.get(page(name, design.pk)).status_code == 200
    for act in ("open", "discard"):
        assert client.post(page(act, hidden.pk), {"sure": "on"}).status_code == 404
    assert client.post(page("open", design.pk), {"sure": "on"}).status_code == (302 if opens else 403)
    assert JudgingDesign.objects.filter(pk=design.pk, opened_at__isnull=False).exists() is opens


def test_a_stranger_sees_no_design(study, systems, member):
    design = drawn(study, systems)
    client = member("view_study")
    for name, args in (("changelist", []), ("change", [design.pk]), ("add", [])):
        assert client.get(page(name, *args)).status_code == 403


def test_wrong_methods_and_addresses_are_refused(study, systems, member):
    design = drawn(study, systems)
    client = member(*ALL)
    assert client.get(page("open", design.pk)).status_code == 405
    assert client.get(page("discard", design.pk)).status_code == 405
    assert client.post(page("change", design.pk)).status_code == 405
    assert client.put(page("add")).status_code == 405
    for address in (page("change", 999), page("change", "x"), f"{page('add')}?study=999", f"{page('add')}?study=x"):
        assert client.get(address).status_code == 404
    assert client.post(page("open", 999), {"sure": "on"}).status_code == 404


def test_a_locked_study_is_neither_designed_nor_opened(study, systems, member):
    design = drawn(study, systems)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    client = member(*ALL)
    assert client.get(f"{page('add')}?study={study.pk}").status_code == 404
    assert "Open for clinicians" not in client.get(page("change", design.pk)).content.decode()
    assert "is locked" in client.post(page("open", design.pk), {"sure": "on"}, follow=True).content.decode()


def test_the_pages_tell_not_which_system_wrote_what(study, systems, member):
    make_clinician(study)
    design = drawn(study, systems)
    text = member(*ALL).get(page("change", design.pk)).content.decode()
    assert text.count("modpo") == 1  # Among the systems compared.
    assert not any(response.text in text or response.key in text for s in systems for response in s.responses.all())


def test_responses_that_name_their_writer_are_found_and_shown_without_it(study, systems, member):
    for index, prompt in enumerate(study.prompts.all()[:3]):
        text = f"As an AI language model, I hear <b>you</b>.\nIt is {index}."
        systems[1].responses.filter(prompt=prompt).update(text=text)
    design = drawn(study, systems, prompts=20)
    client = member(*ALL)
    telltales = client.get(page("change", design.pk)).context["telltales"]
    assert (telltales.responses, len(telltales.telling)) == (40, 3)
    assert [(kind, n) for kind, _, n in telltales.phrases] == [("machine", 3)]
    assert telltales.habits[0][0] > 0.5
    text = client.get(page("phrases", design.pk)).content.decode()
    assert text.count("<mark>As an AI language model</mark>, I hear &lt;b&gt;you") == 3
    assert "modpo" not in text
    assert client.post(page("phrases", design.pk)).status_code == 405
    assert client.get(page("phrases", 999)).status_code == 404


@pytest.mark.parametrize("name", ["changelist", "change"])
def test_queries_do_not_grow_with_the_design(study, systems, member, name, django_assert_max_num_queries):
    client = member(*ALL)
    clinicians = [make_clinician(study)]
    small = drawn(study, systems, name="small", prompts=2)
    args = [small.pk] if name == "change" else []
    with django_assert_max_num_queries(30) as before:
        client.get(page(name, *args))
    clinicians += [make_clinician(study) for _ in range(4)]
    large = drawn(study, systems, name="large", prompts=18, repeated_pairs=3)
    args = [large.pk] if name == "change" else []
    with django_assert_max_num_queries(len(before)):
        client.get(page(name, *args))
