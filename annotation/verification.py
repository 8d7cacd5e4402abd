"""Whether a study is what it was when it was locked, and whether the trail tells of its verdicts as they stand."""

from collections.abc import Iterator
from dataclasses import dataclass

from annotation import protection, seal
from annotation.models import Criterion, Study, Verdict, VerdictEvent
from annotation.seal import Digests, Seal


@dataclass(frozen=True)
class Verification:
    """`kept` is the seal of the lock; None of a study that is not locked, whose data may still change."""

    study: Study
    now: Seal
    kept: Seal | None
    triggers_off: list[str]
    contradictions: list[str]

    def same(self, part: str) -> dict[str, bool | None]:
        """{table: whether it is as it was at the lock}, of the data or the trail; None of what was not sealed then."""
        now: Digests = getattr(self.now, part)
        kept: Digests = getattr(self.kept, part) if self.kept else {}
        return {name: kept[name] == digest if name in kept else None for name, digest in now.items()}

    @property
    def problems(self) -> list[str]:
        return [*self._of_the_seal(), *self._of_the_tables(), *self._of_the_trail()]

    def _of_the_seal(self) -> Iterator[str]:
        if self.study.locked_at and self.kept is None:
            yield "its lock left no seal in the audit trail"
        elif self.kept and self.kept.sha256 != self.study.data_sha256:
            yield "its hash is not that of the seal in the audit trail"

    def _of_the_tables(self) -> Iterator[str]:
        changed = [name for part in ("data", "trail") for name, same in self.same(part).items() if same is False]
        if changed:
            yield f"changed since the lock: {', '.join(changed)}"

    def _of_the_trail(self) -> Iterator[str]:
        if self.contradictions:
            yield f"the trail contradicts {len(self.contradictions)} verdicts, such as {self.contradictions[0]}"
        if self.triggers_off:
            yield f"{len(self.triggers_off)} triggers are off, such as {self.triggers_off[0]}"


def verify(study: Study) -> Verification:
    event, kept = seal.kept(study) or (None, None)
    return Verification(
        study=study,
        now=Seal(data=seal.data_of(study), trail=seal.trail_of(study, before=event.pk if event else None)),
        kept=kept,
        triggers_off=protection.absent(),
        contradictions=list(contradictions(study)),
    )


def contradictions(study: Study) -> Iterator[str]:
    """Verdicts that the trail tells otherwise: each event begins where the one before it ended, and the last says what
    stands."""
    told: dict[tuple[int, int], str] = {}
    broken: set[tuple[int, int]] = set()
    events = VerdictEvent.objects.filter(study=study).order_by("pk")
    for assignment, criterion, old, new in events.values_list("assignment", "criterion", "old", "new").iterator():
        if told.get((assignment, criterion), "") != old:
            broken.add((assignment, criterion))
        told[assignment, criterion] = new
    verdicts = Verdict.objects.filter(assignment__rater__study=study)
    for assignment, criterion, choice in verdicts.values_list("assignment", "criterion", "choice").iterator():
        if told.pop((assignment, criterion), "") != choice:
            broken.add((assignment, criterion))
    broken |= {verdict for verdict, choice in told.items() if choice}
    keys = dict(Criterion.objects.filter(study=study).values_list("pk", "key"))
    for assignment, criterion in sorted(broken):
        yield f"that of assignment {assignment} on {keys.get(criterion, criterion)}"
