"""A small study with a row in every table that a lock protects. The same names and times each time."""

from datetime import UTC, datetime

from annotation.models import (
    Answer,
    Assignment,
    Choice,
    Comparison,
    Criterion,
    ItemKind,
    JudgingDesign,
    Prompt,
    QuestionnaireItem,
    RankedResponse,
    Ranking,
    RankingTask,
    Rater,
    RaterKind,
    ReferenceVerdict,
    Response,
    SafetyFlag,
    Study,
    StudyStatus,
    System,
    SystemKind,
    TaskResponse,
    Verdict,
)
from evaluation.models import Judge, JudgeKind
from training.models import Run, RunKind

NOON = datetime(2025, 3, 1, 12, 0, 0, 250, tzinfo=UTC)


def whole_study(slug="whole"):
    study = Study.objects.create(slug=slug, title="Étude", status=StudyStatus.OPEN)
    criterion = Criterion.objects.create(
        study=study, key="empathy", name="Empathy", question="Which?", better_when="b", worse_when="w", position=1
    )
    prompt = Prompt.objects.create(study=study, key="post", text="I cannot sleep – 眠れない.")
    # Databases sort these in different orders, unless told how.
    systems = [
        System.objects.create(study=study, name=name, kind=SystemKind.BASE) for name in ("zeta", "Base", "Ärzte")
    ]
    responses = [
        Response.objects.create(
            prompt=prompt,
            system=system,
            key=f"r-{system.name}",
            text=f"Warm milk, says {system.name}.",
            sampling={"top_p": 0.9, "temperature": 1.0, "max_new_tokens": 1e22, "stop": ["\n", 2.5]},
        )
        for system in systems
    ]
    rank(study, criterion, prompt, responses)
    judge(study, criterion, systems, responses)
    automate(study)
    return study


def rank(study, criterion, prompt, responses):
    rater = Rater.objects.create(study=study, kind=RaterKind.PARTICIPANT, name="P-1")
    item = QuestionnaireItem.objects.create(
        study=study,
        key="age",
        position=1,
        section="You",
        text="How old?",
        kind=ItemKind.SINGLE,
        options=[{"value": "18", "label": "18 or more"}],
    )
    Answer.objects.create(rater=rater, item=item, value="18")
    task = RankingTask.objects.create(rater=rater, prompt=prompt, slot=0, position=1)
    ranking = Ranking.objects.create(task=task, criterion=criterion, opened_at=NOON, submitted_at=NOON)
    for place, response in enumerate(responses, start=1):
        TaskResponse.objects.create(task=task, response=response, position=place)
    # The third rank is left free, for a test to move to.
    for place, response in enumerate(responses[:2], start=1):
        RankedResponse.objects.create(ranking=ranking, response=response, rank=place, size=len(responses))


def judge(study, criterion, systems, responses):
    design = JudgingDesign.objects.create(study=study, name="main", prompts=1, strata={"risk": [1, 1]})
    design.systems.set(systems)
    comparison = Comparison.objects.create(
        study=study, design=design, response_a=responses[0], response_b=responses[1], stratum="risk"
    )
    ReferenceVerdict.objects.create(comparison=comparison, criterion=criterion, winner="A")
    rater = Rater.objects.create(study=study, kind=RaterKind.CLINICIAN, name="C1")
    assignment = Assignment.objects.create(
        comparison=comparison, rater=rater, position=1, a_on_left=True, opened_at=NOON, reason="Kinder."
    )
    Verdict.objects.create(assignment=assignment, criterion=criterion, choice=Choice.LEFT)
    SafetyFlag.objects.create(assignment=assignment, side="left", kind="other", note="Milk?")
    Assignment.objects.filter(pk=assignment.pk).update(submitted_at=NOON)
    begun = Assignment.objects.create(comparison=comparison, rater=rater, presentation=2, position=2, a_on_left=False)
    Verdict.objects.create(assignment=begun, criterion=criterion, choice=Choice.CANNOT)
    SafetyFlag.objects.create(assignment=begun, side="right", kind="other")


def automate(study):
    run, _ = Run.objects.get_or_create(name="reward-empathy", kind=RunKind.REWARD_MODEL)
    rater = Rater.objects.create(study=study, kind=RaterKind.JUDGE, name="arbiter")
    Judge.objects.create(rater=rater, kind=JudgeKind.LLM, config={"seed": 1}).runs.add(run)


def lock(study):
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    return study
