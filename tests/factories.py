"""Small builders of study records. Each test makes its own world."""

import itertools

from annotation.models import (
    Assignment,
    Comparison,
    ConsentDocument,
    Criterion,
    Participant,
    Prompt,
    Ranking,
    RankingTask,
    Rater,
    RaterKind,
    Response,
    Split,
    Study,
    StudyStatus,
    System,
    SystemKind,
    TaskResponse,
)

counter = itertools.count(1)


def make_study(*, criteria: tuple[str, ...] = ("empathy", "safety"), status: str = StudyStatus.OPEN, **fields) -> Study:
    slug = fields.pop("slug", f"study-{next(counter)}")
    study = Study.objects.create(
        slug=slug,
        title=slug.title(),
        **{"status": status, "completion_code": "DONE1234", "declined_code": "NO123456", **fields},
    )
    for position, key in enumerate(criteria, start=1):
        Criterion.objects.create(
            study=study,
            key=key,
            name=key.replace("_", " ").capitalize(),
            question=f"Which response is best on {key}?",
            better_when=f"It shows {key}.",
            worse_when=f"It lacks {key}.",
            position=position,
            ranked=key != "overall_preference",
        )
    ConsentDocument.objects.create(study=study, version="1", information="What we ask of you.", statements=["I agree."])
    return study


def make_system(study: Study, *, name: str | None = None, kind: str = SystemKind.BASE) -> System:
    return System.objects.create(study=study, name=name or f"system-{next(counter)}", kind=kind)


def make_prompt(
    study: Study, *, split: str = Split.TRAIN, responses: int = 0, system: System | None = None, **fields
) -> Prompt:
    number = next(counter)
    prompt = Prompt.objects.create(
        study=study,
        split=split,
        **{"key": f"q{number}", "text": f"I cannot sleep, for the {number}th night.", **fields},
    )
    if responses:
        system = system or System.objects.filter(study=study).first() or make_system(study)
    for index in range(1, responses + 1):
        make_response(prompt, system, number=index)
    return prompt


def make_response(prompt: Prompt, system: System, *, number: int = 1, text: str | None = None) -> Response:
    return Response.objects.create(
        prompt=prompt,
        system=system,
        number=number,
        key=f"{prompt.key}-{system.name}-{number}",
        text=text or f"Response {number} by {system.name} to {prompt.key}.",
    )


def make_participant(study: Study, *, simulated: bool = False) -> Participant:
    rater = Rater.objects.create(
        study=study, kind=RaterKind.PARTICIPANT, name=f"P-{next(counter)}", simulated=simulated
    )
    return Participant.objects.create(rater=rater)


def make_clinician(study: Study, *, user=None, simulated: bool = False) -> Rater:
    return Rater.objects.create(
        study=study, kind=RaterKind.CLINICIAN, name=f"C-{next(counter)}", user=user, simulated=simulated
    )


def make_task(rater: Rater, prompt: Prompt) -> RankingTask:
    position = rater.ranking_tasks.count() + 1
    slot = prompt.ranking_tasks.count()
    task = RankingTask.objects.create(rater=rater, prompt=prompt, slot=slot, position=position)
    for place, response in enumerate(prompt.responses.all(), start=1):
        TaskResponse.objects.create(task=task, response=response, position=place)
    return task


def make_ranking(task: RankingTask, criterion: Criterion, order: list[Response] | None = None) -> Ranking:
    """A submitted ranking, best first; the display order unless another is given."""
    ranking = Ranking.objects.create(task=task, criterion=criterion)
    ranking.submit(order or list(task.responses.order_by("pk")))
    return ranking


def make_comparison(prompt: Prompt, first: System, second: System) -> Comparison:
    return Comparison.objects.create(
        study=prompt.study, response_a=make_response(prompt, first), response_b=make_response(prompt, second)
    )


def make_assignment(
    comparison: Comparison, rater: Rater, *, a_on_left: bool = True, presentation: int = 1
) -> Assignment:
    return Assignment.objects.create(
        comparison=comparison,
        rater=rater,
        presentation=presentation,
        a_on_left=a_on_left,
        position=rater.assignments.count() + 1,
    )
