"""A small study's folder, for tests that load, change or break it."""

from pathlib import Path

STUDY = """
slug = "small"
title = "A small study"
raters_per_task = 3
responses_per_task = 3
[splits]
train = 2
test = 1
[information]
version = "1"
text = "What we ask of you."
[consent]
statements = ["I agree."]
[debrief]
text = "Thank you."
"""
QUESTIONNAIRE = """
[[items]]
key = "age_group"
section = "About you"
text = "How old are you?"
kind = "single"
options = [{ value = "young", label = "Young" }, { value = "old", label = "Old" }]
"""
CRITERIA = ("empathy", "safety", "active_listening", "self_motivated_change", "trust_rapport", "patient_autonomy")


def post(key: str, *, risk: bool = False) -> str:
    text = (
        f'[[posts]]\nkey = "{key}"\ntopic = "sleep"\nrisk = {str(risk).lower()}\ntext = "I lie awake again, {key}."\n'
    )
    for style, points in (("warm", 5), ("cold", 1), ("plain", 3)):
        qualities = ", ".join(f"{criterion} = {points}" for criterion in CRITERIA)
        text += f'[[posts.responses]]\nstyle = "{style}"\ntext = "A {style} answer to {key}."\n'
        text += f"qualities = {{ {qualities} }}\n"
    return text


def write_study(folder: Path, *, posts: int = 6) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(STUDY)
    (folder / "questionnaire.toml").write_text(QUESTIONNAIRE)
    (folder / "posts_a.toml").write_text("\n".join(post(f"p{n}", risk=n % 3 == 0) for n in range(1, posts + 1)))
    return folder


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
