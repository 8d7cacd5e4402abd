"""Drawing the design of a clinician study, giving its pairs to the clinicians, and opening it to them.

Everything is drawn from the design's seed and stored. Clinicians see its pairs once it is opened; until then its
assignments are drawn anew, from the same seed, whenever clinicians joined or left.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from annotation.calibration import CalibrationPair, create_calibration, require_references
from annotation.comparisons import assign_comparisons, create_comparisons
from annotation.errors import InputError, StudyError
from annotation.models import (
    Assignment,
    Comparison,
    JudgingDesign,
    Prompt,
    Rater,
    RaterKind,
    Response,
    Split,
    Study,
    System,
)
from annotation.models.comparison import AssignmentQuerySet
from annotation.sampling import draw_sample, strata_of

# The least and the most of each number of a design; the most is what its column holds.
SMALL, LARGE = 2**15 - 1, 2**31 - 1
RANGES = {"prompts": (1, LARGE), "raters_per_pair": (1, SMALL), "repeated_pairs": (0, SMALL), "seed": (0, LARGE)}


@dataclass(frozen=True, kw_only=True)
class DesignPlan:
    """What is asked of a design. Without a baseline all pairs of the systems are compared, each on every prompt drawn;
    with one, each other system with it."""

    name: str
    systems: Sequence[System]
    baseline: System | None = None
    prompts: int
    raters_per_pair: int | None = None
    repeated_pairs: int = 0
    calibration: Sequence[CalibrationPair] = ()
    seed: int = 42

    def system_pairs(self) -> list[tuple[System, System]]:
        """The systems to be compared with one another.

        Raises:
            InputError: there are not two systems, or the baseline is none of them.
        """
        systems = sorted(set(self.systems), key=lambda system: system.pk)
        if len(systems) < 2:
            raise InputError(f"design {self.name}: name at least two systems to compare")
        if self.baseline is None:
            return list(itertools.combinations(systems, 2))
        if self.baseline not in systems:
            raise InputError(f"design {self.name}: the baseline {self.baseline} is none of the systems compared")
        return [(self.baseline, system) for system in systems if system != self.baseline]


@transaction.atomic
def draw_design(study: Study, plan: DesignPlan, *, by: User | None = None) -> JudgingDesign:
    """The design with its pairs, calibration pairs and, where there are clinicians, their assignments.

    Raises:
        InputError: the plan cannot be carried out; the message says what to change.
        StudyError: the study is locked.
    """
    Study.objects.select_for_update().get(pk=study.pk)
    study.require_unlocked()
    if study.designs.filter(name=plan.name).exists():
        raise InputError(
            f"study {study.slug} has a design {plan.name} already: open or discard that one, or give another name"
        )
    system_pairs = plan.system_pairs()
    strata, drawn, table = draw_prompts(study, plan, system_pairs)
    design = JudgingDesign.objects.create(
        study=study,
        name=plan.name,
        baseline=plan.baseline,
        prompts=plan.prompts,
        raters_per_pair=plan.raters_per_pair,
        repeated_pairs=plan.repeated_pairs,
        seed=plan.seed,
        strata=table,
        created_by=by,
    )
    design.systems.set(plan.systems)
    pairs = create_pairs(design, system_pairs, {prompt: strata[prompt] for prompt in drawn})
    create_calibration(design, plan.calibration)
    study.auditevent_set.create(
        action="design.draw",
        subject=f"design {design}",
        user=by,
        new={
            "systems": [system.name for system in plan.systems],
            "baseline": plan.baseline and plan.baseline.name,
            "prompts": plan.prompts,
            "pairs": pairs,
            "raters_per_pair": plan.raters_per_pair,
            "repeated_pairs": plan.repeated_pairs,
            "calibration_pairs": len(plan.calibration),
            "seed": plan.seed,
            "strata": table,
        },
    )
    enough = plan.raters_per_pair or 1
    clinicians = len(clinicians_of(study))
    require_room_for_repeats(design, pairs, max(clinicians, enough))
    if clinicians >= enough:
        assign_design(design)
    return design


def draw_prompts(
    study: Study, plan: DesignPlan, pairs: Sequence[tuple[System, System]]
) -> tuple[dict[int, str], list[int], dict[str, list[int]]]:
    """{test prompt: stratum}, the prompts drawn, and {stratum: [prompts to draw from, prompts drawn]}."""
    candidates = candidate_prompts(study, pairs)
    if not 1 <= plan.prompts <= len(candidates):
        raise InputError(
            f"design {plan.name}: {plan.prompts} prompts were asked for, and {len(candidates)} test prompts are "
            "answered by all its systems and in no design yet: ask for fewer, generate more responses, or discard a "
            "design that was never opened (--replace, where it has this name)"
        )
    strata = strata_by_prompt(study)
    drawn = [candidates[i] for i in draw_sample([strata[prompt] for prompt in candidates], plan.prompts, plan.seed)]
    there, taken = (Counter(strata[prompt] for prompt in prompts) for prompts in (candidates, drawn))
    return strata, drawn, {stratum: [there[stratum], taken[stratum]] for stratum in sorted(there)}


def create_pairs(design: JudgingDesign, pairs: Sequence[tuple[System, System]], strata: Mapping[int, str]) -> int:
    """Make or take the comparisons of the systems on the prompts of `strata`; how many the design now has."""
    comparisons = [pair for systems in pairs for pair in create_comparisons(design.study, *systems, prompts=strata)]
    prompt_of = dict(Response.objects.filter(prompt__in=strata).values_list("pk", "prompt"))
    for comparison in comparisons:
        comparison.design, comparison.stratum = design, strata[prompt_of[comparison.response_a_id]]
    return Comparison.objects.bulk_update(comparisons, ["design", "stratum"], batch_size=500)


def design_named(study: Study, name: str) -> JudgingDesign:
    """The study's design of that name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    design = study.designs.filter(name=name).first()
    if design is None:
        known = ", ".join(study.designs.values_list("name", flat=True)) or "none yet"
        raise InputError(f"study {study.slug} has no design {name!r} (it has: {known})")
    return design


def candidate_prompts(study: Study, pairs: Sequence[tuple[System, System]]) -> list[int]:
    """Ids of the test prompts that all the systems answered, ascending, without those whose pairs another design holds
    or clinicians were given before."""
    systems = {system for pair in pairs for system in pair}
    answered = Counter(
        Response.objects.filter(
            prompt__study=study, prompt__split=Split.TEST, system__in=systems, number=1
        ).values_list("prompt", flat=True)
    )
    judged = Assignment.objects.filter(comparison=OuterRef("pk"), rater__kind=RaterKind.CLINICIAN)
    taken = {
        prompt
        for prompt, *of in study.comparisons.filter(Q(design__isnull=False) | Exists(judged)).values_list(
            "response_a__prompt", "response_a__system", "response_b__system"
        )
        if any({first.pk, second.pk} == set(of) for first, second in pairs)
    }
    return sorted(prompt for prompt, answers in answered.items() if answers == len(systems) and prompt not in taken)


def strata_by_prompt(study: Study) -> dict[int, str]:
    """{prompt id: stratum} of the whole test split, so that a stratum means the same in each of a study's designs."""
    prompts = list(Prompt.objects.filter(study=study, split=Split.TEST).order_by("pk").only("pk", "risk", "text"))
    strata = strata_of([prompt.risk for prompt in prompts], [len(prompt.text) for prompt in prompts])
    return {prompt.pk: stratum for prompt, stratum in zip(prompts, strata, strict=True)}


def clinicians_of(study: Study) -> list[Rater]:
    return list(Rater.objects.active().filter(study=study, kind=RaterKind.CLINICIAN).order_by("pk"))


@transaction.atomic
def assign_design(design: JudgingDesign) -> int:
    """Give the design's pairs to the study's clinicians; the number of assignments made.

    Once the design is open, what was given out stays and a late comer gets pairs as the others did: practice first,
    then pairs, some of them twice. Where each pair has its number of clinicians, nothing is left to give.

    Raises:
        InputError: there are no clinicians, fewer than a pair needs, or too many repeated pairs for one session.
        StudyError: the study is locked.
    """
    study = lock_rows(design)
    clinicians = clinicians_of(study)
    if not clinicians:
        raise InputError(f"study {study.slug} has no clinician: add one in the admin first, under Raters")
    pairs = design.comparisons.filter(calibration=False).order_by("response_a__prompt", "pk")
    if design.opened_at is None:
        require_room_for_repeats(design, pairs.count(), len(clinicians))
        # Nobody has seen any of it: whoever joined or left since takes part in one balanced draw.
        given_of(design).pending().delete()
    return assign_comparisons(
        study,
        list(pairs),
        clinicians,
        per_item=design.raters_per_pair,
        seed=design.seed,
        practice=list(design.comparisons.filter(calibration=True).order_by("pk")),
        repeats=design.repeated_pairs,
    )


def given_of(design: JudgingDesign) -> AssignmentQuerySet:
    """What clinicians were given of the design; judges see its pairs in their own way."""
    return Assignment.objects.filter(comparison__design=design, rater__kind=RaterKind.CLINICIAN)


def require_room_for_repeats(design: JudgingDesign, pairs: int, clinicians: int) -> None:
    fewest = pairs * min(design.raters_per_pair or clinicians, clinicians) // clinicians
    if design.repeated_pairs > fewest // 2:
        raise InputError(
            f"design {design}: {design.repeated_pairs} repeated pairs do not fit where a clinician judges {fewest}: "
            f"choose at most {fewest // 2}, so that a third of the session lies between two sights"
        )


@transaction.atomic
def discard_design(design: JudgingDesign, *, by: User | None = None) -> None:
    """Take a design that nobody has seen back, so that its prompts can be drawn again. What judges said of its pairs
    stays.

    Raises:
        StudyError: it is open, pairs of it were judged by clinicians, or the study is locked.
    """
    study = lock_rows(design)
    if design.opened_at:
        raise StudyError(f"design {design} of study {study.slug} is open: what clinicians were given is never redrawn")
    if given_of(design).submitted().exists():
        raise StudyError(f"design {design} of study {study.slug}: clinicians have judged pairs of it, it must stay")
    study.auditevent_set.create(action="design.discard", subject=f"design {design}", user=by)
    given_of(design).delete()
    practice = Prompt.objects.filter(pk__in=design.comparisons.filter(calibration=True).values("response_a__prompt"))
    prompts = list(practice.values_list("pk", flat=True))
    design.comparisons.filter(calibration=True).delete()
    Prompt.objects.filter(pk__in=prompts).delete()
    design.comparisons.update(design=None, stratum="")
    design.delete()


def lock_rows(design: JudgingDesign) -> Study:
    """The design's study, held until the transaction ends, with the design as it stands.

    Raises:
        StudyError: the study is locked for good.
    """
    study = Study.objects.select_for_update().get(pk=design.study_id)
    study.require_unlocked()
    design.refresh_from_db(fields=["opened_at"])
    return study


@transaction.atomic
def open_design(design: JudgingDesign, *, by: User | None = None) -> None:
    """Let the clinicians see the design's pairs from now on: `by` a user if one asked, who must be allowed to.

    Raises:
        StudyError: it is open already, a calibration pair lacks a reference verdict, there is no clinician or nothing
            to judge on, or the study is locked.
    """
    study = lock_rows(design)
    if design.opened_at:
        raise StudyError(f"design {design} of study {study.slug} is open already")
    if not study.criteria.filter(judged=True).exists():
        raise StudyError(f"study {study.slug} has no criterion that is judged: mark one in the admin")
    require_references(design)
    assign_design(design)
    design.opened_at = timezone.now()
    design.save(update_fields=["opened_at"])
    clinicians = [rater.name for rater in clinicians_of(study)]
    study.auditevent_set.create(
        action="design.open", subject=f"design {design}", user=by, new={"clinicians": clinicians}
    )
