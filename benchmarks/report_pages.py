"""Milliseconds of every page and figure of the report, cold and warm, on two studies.

    OMP_NUM_THREADS=1 python -m benchmarks.report_pages

100 comparisons x 6 clinicians x 7 criteria and 2,000 x 12 x 7, each with a judge that looked twice, on SQLite in a
temporary folder. Cold: nothing is kept, so the page answers at once and asks for its numbers, whose seconds stand
beside it. Warm: page, numbers and each figure in it are asked for one after the other, and the worst of them counts.
"""

import os
import re
import tempfile
import time
from datetime import timedelta

CRITERIA = ("safety", "empathy", "change", "trust", "autonomy", "listening", "overall")
SIZES = ((100, 6), (2000, 12))
REPEATS = 5


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="attune-bench-") as folder:
        os.environ |= {"ATTUNE_DEBUG": "1", "ATTUNE_VAR": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        os.environ.pop("DATABASE_URL", None)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        for comparisons, clinicians in SIZES:
            study = build(comparisons, clinicians)
            print(f"\n{comparisons} comparisons x {clinicians} clinicians x {len(CRITERIA)} criteria")
            print(f"{'':16}{'cold page':>12}{'numbers':>12}{'warm page':>12}{'slowest figure':>16}")
            for name, row in pages(study):  # type: ignore[no-untyped-call]  # As build.
                print(
                    f"{name:16}"
                    + "".join(f"{value:>{width},.0f} ms" for value, width in zip(row, (9, 9, 9, 13), strict=True))
                )


def build(comparisons: int, clinicians: int):  # type: ignore[no-untyped-def]  # Models are there after django.setup().
    """A locked, unblinded study of that size with made-up verdicts: clinicians who agree on two of three labels."""
    import numpy as np
    from django.utils import timezone

    from annotation.models import (
        Assignment,
        Comparison,
        Criterion,
        Prompt,
        Rater,
        RaterKind,
        Response,
        Study,
        StudyStatus,
        System,
        Verdict,
    )  # fmt: skip
    from evaluation.models import Judge, JudgeKind

    study = Study.objects.create(slug=f"bench-{comparisons}", title=f"Benchmark of {comparisons}", status="open")
    criteria = Criterion.objects.bulk_create(
        Criterion(study=study, key=key, name=key.title(), question="?", better_when="?", worse_when="?", position=place)
        for place, key in enumerate(CRITERIA, 1)
    )
    systems = System.objects.bulk_create([System(study=study, name=name, kind="base") for name in ("Base", "MODPO")])
    prompts = Prompt.objects.bulk_create(
        Prompt(study=study, key=f"q{n}", text=f"I have slept badly for {n} nights.") for n in range(comparisons)
    )
    written = Response.objects.bulk_create(
        Response(
            prompt=prompt, system=system, key=f"{prompt.key}-{system.name}", text=f"What keeps you up, {prompt.key}?"
        )
        for prompt in prompts
        for system in systems
    )
    pairs = Comparison.objects.bulk_create(
        Comparison(study=study, response_a=a, response_b=b, stratum=("risk", "no risk")[n % 2])
        for n, (a, b) in enumerate(zip(written[::2], written[1::2], strict=True))
    )
    people = [
        Rater(study=study, kind=RaterKind.CLINICIAN, name=f"C{n}", simulated=True) for n in range(1, clinicians + 1)
    ]
    *people, judge = Rater.objects.bulk_create([*people, Rater(study=study, kind=RaterKind.JUDGE, name="judge")])
    Judge.objects.create(rater=judge, kind=JudgeKind.LLM, is_toy=True)
    rng = np.random.default_rng(0)
    now = timezone.now()
    looks = [(person, 1) for person in people] + [(judge, 1), (judge, 2)]
    given = Assignment.objects.bulk_create(
        Assignment(
            comparison=pair, rater=rater, presentation=look, position=place * 2 + look, a_on_left=bool(rng.integers(2)),
            opened_at=now,
        )
        for place, pair in enumerate(pairs)
        for rater, look in looks
    )  # fmt: skip
    truth = rng.choice(["A", "tie", "B"], p=[0.25, 0.13, 0.62], size=(len(pairs), 1, len(criteria)))
    noise = rng.choice(["A", "tie", "B"], size=(len(pairs), len(looks), len(criteria)))
    labels = np.where(rng.random(noise.shape) < 0.45, noise, truth).reshape(len(given), len(criteria))
    side = {("A", True): "left", ("A", False): "right", ("B", True): "right", ("B", False): "left"}
    Verdict.objects.bulk_create(
        (
            Verdict(assignment=one, criterion=criterion, choice=side.get((str(label), one.a_on_left), "tie"))
            for one, row in zip(given, labels, strict=True)
            for criterion, label in zip(criteria, row, strict=True)
        ),
        batch_size=5000,
    )
    for one in given:
        one.submitted_at = now + timedelta(seconds=float(rng.gamma(4, 15)))
    Assignment.objects.bulk_update(given, ["submitted_at"], batch_size=2000)
    study.advance(StudyStatus.CLOSED)
    study.advance(StudyStatus.LOCKED)
    study.unblind()
    return study


def pages(study):  # type: ignore[no-untyped-def]
    """(page, [cold page, its numbers, warm page, slowest figure]) in milliseconds."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    from evaluation.report import PAGES, RATER

    user, _ = get_user_model().objects.get_or_create(username="bench", is_superuser=True, is_staff=True)
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    rater = f"{RATER}{study.raters.first().pk}"
    for slug in (*(page.slug for page in PAGES), rater):
        address = f"/admin/evaluation/studyreport/{study.pk}/report/{slug}/"
        cold = milliseconds(client, address)
        numbers = milliseconds(client, f"{address}?compute=1")
        warm = min(milliseconds(client, address) for _ in range(REPEATS))
        figures = re.findall(r'<img src="([^"]+)"', client.get(address).content.decode())
        yield slug, [cold, numbers, warm, max((milliseconds(client, figure) for figure in figures), default=0.0)]


def milliseconds(client, address: str) -> float:  # type: ignore[no-untyped-def]
    start = time.process_time()
    response = client.get(address)
    if response.status_code != 200:
        raise SystemExit(f"{address}: {response.status_code}")
    return (time.process_time() - start) * 1000


if __name__ == "__main__":
    main()
