import json

import pytest
from django.core.management import CommandError, call_command

from annotation.blinding import habits, self_identifying
from tests.factories import make_comparison, make_prompt, make_response, make_study, make_system


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("machine", "As an AI language model, I cannot feel."),
        ("machine", "I\u2019m just a large language model, but I hear you."),
        ("machine", "im an ai and i want to help"),
        ("machine", "Being an **AI**, I have no body."),
        ("machine", "I am not a human, but I am here."),
        ("machine", "I don't have personal experiences."),
        ("machine", "I was programmed to listen."),
        ("machine", "I'm your AI companion."),
        ("model", "I'm Claude, and I am glad you wrote."),
        ("model", "My name is *Gemini*."),
        ("model", "You could also ask ChatGPT."),
        ("model", "It ran on GPT-4o and Llama 3.1."),
        ("model", "I was made by Google."),
        ("training", "My training data end in 2023."),
        ("training", "My knowledge cutoff is May."),
        ("training", "I was trained on many conversations."),
        ("refusal", "I'm really sorry you feel this way, but I'm unable to provide the help that you need."),
        ("refusal", "I cannot assist with that request."),
        ("template", "Take care.<|im_end|>"),
        ("template", "[INST] I cannot sleep [/INST]"),
        ("template", "I hear you.\n### Assistant: I hear you."),
        ("template", "Sure! Here's a supportive response:"),
        ("template", "Warmly,\n[Your Name]"),
        ("failure", "API request error, try again"),
    ],
)
def test_what_gives_a_machine_away_is_found(kind, text):
    findings = self_identifying(text)
    assert {finding.kind for finding in findings} == {kind}
    assert all(text[finding.start : finding.end] == finding.phrase for finding in findings)


@pytest.mark.parametrize(
    "text",
    [
        "I am not an AI expert, but I know what being alone is like.",
        "As an AI researcher you must be under pressure.",
        "You mentioned that as a Gemini you are of two minds.",
        "It sounds as if Claude hurt you, and Alexa took his side.",
        "The mistral blows, the llama spits, and you drive a Falcon.",
        "I was trained as a psychologist and I've been trained by good people.",
        "I can't give you a diagnosis over the internet.",
        "I don't have feelings for him any more, you say.",
        "I'm sorry, but I can't imagine how hard that is.",
        "You said it again. As an aid, try a diary.",
        "Google a therapist near you, or put your palms together.",
        "You are not a machine, and I am not a person who judges.",
        "My training as a nurse taught me so.",
        "That is how they treat you, as a mere user.",
    ],
)
def test_honest_text_is_left_alone(text):
    assert self_identifying(text) == []


def test_names_of_the_study_are_found_however_they_are_spelt():
    names = ["modpo-empathy_w0.5", "Tiny Llama", "attentive", " "]
    text = "MODPO empathy w0.5 says: be attentive, said tiny-llama. I am Attentive."
    assert [(f.kind, f.phrase) for f in self_identifying(text, names)] == [
        ("name", "MODPO empathy w0.5"),
        ("name", "tiny-llama"),
        ("name", "I am Attentive"),
    ]


def test_what_overlaps_is_found_once():
    assert [f.phrase for f in self_identifying("I'm ChatGPT, trained by OpenAI.")] == [
        "I'm ChatGPT",
        "trained by OpenAI",
    ]


@pytest.mark.parametrize("text", ["I am an AI " * 9_000, "as a " * 20_000, "I'm just " * 10_000, "[your " * 15_000])
def test_a_hundred_thousand_characters_are_searched(text):
    assert len(self_identifying(text, ["a-b", "a"])) <= 9_000


def test_a_habit_tells_systems_apart_as_often_as_it_differs():
    found = {habit.measure.name: habit for habit in habits({"x": ["- a"] * 3 + ["a b"], "y": ["a b", "c"]})}
    assert found["lists"].guesses == pytest.approx(0.5 + 0.75 / 2)
    assert (found["lists"].lesser, found["lists"].greater) == (0, 0.75)
    assert str(found["lists"]) == "one system uses lists in 75 % of responses, another in 0 %"
    assert found["emoji"].guesses == 0.5
    # Words: 2, 2, 2, 2 against 2, 1.
    assert found["words"].guesses == pytest.approx(0.75)


def test_habits_know_no_names_and_need_two_systems():
    texts = {"first": ["one **two**"], "second": ["three"], "third": ["- four"]}
    told = [str(habit) for habit in habits(texts)]
    assert not any(name in line for line in told for name in texts)
    assert habits({"alone": ["text"]}) == []
    with pytest.raises(ValueError, match="at least one text"):
        habits({"x": ["text"], "y": []})


def test_an_opening_that_many_responses_share_is_a_habit():
    texts = {"x": [f"It sounds like {n}" for n in range(9)], "y": [f"{n} it is hard" for n in range(9)]}
    assert {habit.measure.name: habit.guesses for habit in habits(texts)}["openings"] == 1


@pytest.fixture
def study(db):
    study = make_study(slug="care")
    systems = make_system(study, name="modpo-w1"), make_system(study, name="plain")
    for number in range(3):
        prompt = make_prompt(study, key=f"q{number}", split="test")
        for name, system in zip("ab", systems, strict=True):
            text = "As an AI, I hear you. modpo w1" if (name, number) == ("a", 1) else "I hear you."
            response = make_response(prompt, system, text=text)
            response.sampling = {"model": "tiny/llama-x"}
            response.save()
    return study


def test_the_command_tells_responses_and_phrases_and_no_system(study, capsys):
    call_command("check_blinding", study="care")
    out = capsys.readouterr().out
    assert "q1: machine: 'As an AI'\nq1: name: 'modpo w1'\n1 of 6 responses give their writer away" in out
    assert "plain" not in out
    assert "modpo-w1" not in out
    call_command("check_blinding", study="care", json=True)
    check = json.loads(capsys.readouterr().out)
    assert (check["responses"], check["telling"]) == (6, 1)
    assert check["findings"][0] == {"question_id": "q1", "kind": "machine", "phrase": "As an AI", "start": 0, "end": 8}
    assert check["habits"][0]["guesses"] == pytest.approx(0.5 + 1 / 3 / 2)


def test_of_a_design_its_pairs_alone_are_checked(study, capsys):
    design = study.designs.create(name="main", prompts=1, seed=1)
    pair = make_comparison(make_prompt(study, split="test"), *study.systems.all())
    pair.design = design
    pair.save()
    call_command("check_blinding", study="care", design="main")
    assert "of 2 responses" in capsys.readouterr().out


def test_a_wrong_design_and_a_study_without_responses_are_said(study):
    with pytest.raises(CommandError, match="has no design 'other'"):
        call_command("check_blinding", study="care", design="other")
    make_study(slug="empty")
    with pytest.raises(CommandError, match="no responses to check"):
        call_command("check_blinding", study="empty")
