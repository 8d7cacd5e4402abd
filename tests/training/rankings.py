"""Rankings of a study, and the manifest of what is exported from them."""

import json

from annotation.models import Rater, RaterKind
from tests.factories import make_participant, make_ranking, make_task


def rank(criterion, prompt, *places, simulated=False):
    """A participant's ranking; places are indices of the prompt's responses, best first."""
    rater = make_participant(prompt.study, simulated=simulated).rater
    responses = list(prompt.responses.order_by("pk"))
    return make_ranking(make_task(rater, prompt), criterion, [responses[place] for place in places])


def rank_as_judge(criterion, prompt, *places, name="Persona 1"):
    judge = Rater.objects.create(study=prompt.study, kind=RaterKind.JUDGE, name=name)
    responses = list(prompt.responses.order_by("pk"))
    return make_ranking(make_task(judge, prompt), criterion, [responses[place] for place in places])


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())
