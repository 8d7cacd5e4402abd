"""Everything a clinician's browser receives while judging 400 pairs, kept with who stood on the left.

The two systems write from one source, so that their texts differ by chance alone. Clock, tokens and ids are the same in
every run: what a classifier makes of the record is then no matter of luck.
"""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import zip_longest
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management.color import no_style
from django.db import connection
from django.db.models import F
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import crypto, timezone

from annotation.comparisons import assign_comparisons, create_comparisons
from annotation.display import rendered
from annotation.models import Prompt, Rater, Response, Split
from tests.factories import make_clinician, make_study, make_system

PAIRS = 400
# Names that must reach no browser.
SYSTEMS = ("zzaphir-modpo", "quorvane-base")
MODEL, PROMPT_KEY, RESPONSE_KEY = "vexillum/tiny", "promptkey-", "responsekey-"
NAMES = (*SYSTEMS, MODEL, PROMPT_KEY, RESPONSE_KEY)
WORDS = ["you", "it", "was", "night", "and", "I", "hear", "how", "heavy", "slow", "breathe", "friend", "listen", "rest"]
SECTION = re.compile(r'<section[^>]*\bclass="[^"]*\bjudge-(left|right)\b.*?</section>', re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """One reply without the responses' texts: what stands in the section of either side, and the rest of the page."""

    to: str
    headers: tuple[tuple[str, str], ...]
    parts: dict[str, str]
    size: int
    seconds: float

    def changed(self, part: str, change: Callable[[str], str]) -> "Reply":
        return replace(self, parts={**self.parts, part: change(self.parts[part])})


@dataclass
class Pair:
    position: int
    a_on_left: bool
    left: Response
    right: Response
    replies: list[Reply] = field(default_factory=list)


@dataclass
class Record:
    pairs: list[Pair]
    # All replies as they came, and what the database was sent for them.
    raw: list[str]
    statements: list[str]


class Determined:
    """The clock and the chance of the site, set anew before each request."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.requests = 0
        self.next()
        patch.setattr(time, "time", lambda: self.now)
        patch.setattr(timezone, "now", lambda: datetime.fromtimestamp(self.now, UTC))
        chance = SimpleNamespace(choice=lambda letters: self.chance.choice(letters), compare_digest=compare_digest)
        patch.setattr(crypto, "secrets", chance)

    def next(self) -> None:
        self.requests += 1
        self.now = 1_800_000_000.0 + 7.3 * self.requests
        self.chance = random.Random(self.requests)


compare_digest = crypto.secrets.compare_digest


def make_world(*, pairs: int, swapped: bool, seed: int) -> Rater:
    """A clinician with pairs drawn as any design's; `swapped`, each text is the other system's, on the same side."""
    models = [User, *apps.get_app_config("annotation").get_models()]
    tables = [
        {"table": model._meta.db_table, "column": model._meta.auto_field.column}
        for model in models
        if model._meta.auto_field
    ]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_by_name_sql(no_style(), tables):
            cursor.execute(statement)
    study = make_study(slug="care", criteria=("empathy", "safety"))
    systems = [make_system(study, name=name) for name in SYSTEMS]
    words = random.Random(11)
    prompts = Prompt.objects.bulk_create(
        Prompt(study=study, key=f"{PROMPT_KEY}{n}", text=f"I lie awake, for the {n}th night.", split=Split.TEST)
        for n in range(1, pairs + 1)
    )
    for prompt in prompts:
        texts = [written(words), written(words)]
        for number, system in enumerate(systems):
            Response.objects.create(
                prompt=prompt,
                system=system,
                key=f"{RESPONSE_KEY}{prompt.pk}-{number}",
                text=texts[number ^ swapped],
                sampling={"model": MODEL},
            )
    rater = make_clinician(study, user=User.objects.create_user("clinician"))
    assign_comparisons(study, create_comparisons(study, *systems), [rater], per_item=None, seed=seed)
    if swapped:
        rater.assignments.update(a_on_left=~F("a_on_left"))
    return rater


def written(words: random.Random) -> str:
    """A response of one to three blocks, some of them headings and lists."""
    signs = ["", "", "", "## ", "- ", "1. ", "> "]
    return "\n\n".join(
        words.choice(signs) + " ".join(words.choices(WORDS, k=words.randint(4, 30))) for _ in range(words.randint(1, 3))
    )


def record(patch: pytest.MonkeyPatch, *, pairs: int = PAIRS, swapped: bool = False, seed: int = 42) -> Record:
    browser = Browser(Determined(patch))
    rater = make_world(pairs=pairs, swapped=swapped, seed=seed)
    assignments = rater.assignments.select_related("comparison__response_a", "comparison__response_b")
    met = [Pair(a.position, a.a_on_left, a.left, a.right) for a in assignments.order_by("position")]
    browser.client.force_login(rater.user)
    chance = random.Random(3)
    browser.get("judge", met[0])
    for pair, following in zip_longest(met, met[1:]):
        choices = {f"criterion-{key}": chance.choice(("left", "tie", "right")) for key in ("empathy", "safety")}
        browser.post("verdict", pair, choices, target="saved")
        browser.post("undo", pair, choices, target="verdicts")
        # The next pair comes with the reply.
        browser.post("judge", pair, choices, brings=following)
    for pair in met:
        browser.get("judge", pair)
    whole = [reverse("home"), reverse("annotation:clinic"), reverse("annotation:clinic-summary", args=["care"])]
    for address in whole:
        browser.ask(lambda address=address: browser.client.get(address))
    return Record(met, browser.raw, browser.statements)


class Browser:
    def __init__(self, determined: Determined) -> None:
        self.client, self.determined = Client(), determined
        self.raw: list[str] = []
        self.statements: list[str] = []

    def get(self, name: str, pair: Pair) -> None:
        self.keep(pair, f"get {name}", *self.ask(lambda: self.client.get(address(name, pair))))

    def post(
        self, name: str, pair: Pair, data: dict[str, str], *, target: str = "", brings: Pair | None = None
    ) -> None:
        headers = {"HX-Request": "true"} | ({"HX-Target": target} if target else {})
        answer = self.ask(lambda: self.client.post(address(name, pair), data, headers=headers))
        if target or brings:
            self.keep(brings or pair, f"post {name}", *answer)

    def ask(self, send: Callable[[], HttpResponse]) -> tuple[HttpResponse, float]:
        """The reply and the CPU time it took, in seconds."""
        self.determined.next()

        def note(execute, sql, *rest):
            # A savepoint's name counts all that were made before.
            self.statements.append(re.sub(r'"s\d+_x\d+"', "", sql))
            return execute(sql, *rest)

        with connection.execute_wrapper(note):
            started = time.process_time()
            response = send()
            seconds = time.process_time() - started
        self.raw.append(
            "\n".join(f"{name}: {value}" for name, value in headers_of(response)) + f"\n\n{text_of(response)}"
        )
        return response, seconds

    def keep(self, pair: Pair, to: str, response: HttpResponse, seconds: float) -> None:
        parts = stripped(text_of(response), pair)
        size = sum(len(part.encode()) for part in parts.values())
        pair.replies.append(Reply(to, headers_of(response), parts, size, seconds))


def address(name: str, pair: Pair) -> str:
    return reverse(f"annotation:{name}", args=["care", pair.position])


def headers_of(response: HttpResponse) -> tuple[tuple[str, str], ...]:
    return *response.items(), *(("Set-Cookie", morsel.OutputString()) for morsel in response.cookies.values())


def text_of(response: HttpResponse) -> str:
    return response.content.decode()


def stripped(body: str, pair: Pair) -> dict[str, str]:
    """The page's two sections without the texts, and the rest of it."""
    sections = {match[1]: match[0] for match in SECTION.finditer(body)}
    parts = {"rest": SECTION.sub("", body)}
    for side, response in (("left", pair.left), ("right", pair.right)):
        if side in sections:
            html = rendered(response.text)
            assert sections[side].count(html) == 1
            parts[side] = sections[side].replace(html, "")
    return parts
