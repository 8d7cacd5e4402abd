"""Six reward models, against one encoder with six heads: trained on the same rankings as often, and scored.

    OMP_NUM_THREADS=2 python -m benchmarks.shared_encoder

The demonstration's posts, their five responses ranked on each of six criteria by the qualities they were written with,
drawn where those are level, as a person who ranks has no ties either. MiniLM, one pass over all pairs; both sides score
the responses they learned from and those of as many other posts. The shared encoder takes a turn after the second and
after the fourth of the six, so that a machine whose speed drifts favours neither.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

POSTS = 6


def pairs_by_criterion() -> dict[str, list[Any]]:
    """All pairs of each ranking: first those of the posts to train on, then of as many to test on."""
    from django.conf import settings

    from annotation.study_files import read_posts
    from training.pairs import AggregateRanking, all_pairs

    posts = read_posts(Path(settings.BASE_DIR) / "fixtures" / "demo")[: 2 * POSTS]
    draw = random.Random(0)  # noqa: S311 - reproducible ranks, no secret
    pairs: dict[str, list[Any]] = {criterion: [] for criterion in posts[0].responses[0].qualities}
    for post in posts:
        for criterion, made in pairs.items():
            order = sorted(post.responses, key=lambda one: (one.qualities[criterion], draw.random()), reverse=True)
            texts = tuple(response.text for response in order)
            places = tuple(str(place) for place in range(len(texts)))
            made += all_pairs(AggregateRanking(post.key, post.text, places, texts, tuple(range(len(texts), 0, -1))))
    return pairs


def seconds(train: Callable[[Path], object]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train(Path(folder))
        return time.perf_counter() - start


def main() -> None:
    from training.base_models import resolve_model
    from training.recipes import RewardRecipe
    from training.reward_model import train_reward_model
    from training.shared_encoder import train_shared_encoder

    recipe = RewardRecipe(epochs=1)
    source = resolve_model(recipe.model)
    every = pairs_by_criterion()
    train = {criterion: pairs[: len(pairs) // 2] for criterion, pairs in every.items()}
    held_out = {criterion: pairs[len(pairs) // 2 :] for criterion, pairs in every.items()}

    def one(criterion: str) -> float:
        return seconds(lambda folder: train_reward_model(source, train[criterion], held_out[criterion], recipe, folder))

    def shared() -> float:
        return seconds(lambda folder: train_shared_encoder(source, train, held_out, recipe, folder))

    apart, together = 0.0, []
    for number, criterion in enumerate(every):
        if number in (2, 4):
            together.append(shared())
        apart += one(criterion)
    mean = statistics.fmean(together)
    print(f"six reward models:  {apart:6.1f} s")
    print(f"one shared encoder: {mean:6.1f} s")
    print(f"six reward models / one shared encoder: {apart / mean:.1f} (to stay at 4 or above)")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("ATTUNE_DEBUG", "1")
    django.setup()
    main()
