"""Scoring as it is done here, sorted by length in batches, against one response after another in the order they come.

    OMP_NUM_THREADS=2 python -m benchmarks.scoring

The demonstration's posts and responses, MiniLM with a new head: what it learned does not change its speed. The other
side is transformers' own model, also in fp32, on the same tokens and as many threads. These texts are all of 114 to 161
tokens, and one of them fills a core's products of matrices already, so what is gained is that cores do not wait for
one another and, on an AMD CPU, what packing the weights for oneDNN gains (see training.scoring). The two take turns,
and who comes first changes, so that a slow moment of the machine is nobody's.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

ROUNDS = 6

Texts = list[tuple[str, str]]


def responses() -> Texts:
    """(post, response)"""
    from django.conf import settings

    from annotation.study_files import read_posts

    posts = read_posts(Path(settings.BASE_DIR) / "fixtures" / "demo")
    return [(post.text, response.text) for post in posts for response in post.responses]


def sides(folder: Path) -> tuple[Callable[[Texts], list[float]], Callable[[Texts], list[float]]]:
    """One response after another, and sorted batches: each gives the scores of texts in their order."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from training.base_models import resolve_model
    from training.encoding import encode_for_reward, load_reward_tokenizer
    from training.progress import quiet_libraries
    from training.recipes import RewardRecipe
    from training.reward_model import load_classifier
    from training.scoring import Scorer

    quiet_libraries()
    recipe = RewardRecipe()
    source = resolve_model(recipe.model)
    load_classifier(source, recipe).save_pretrained(folder)
    load_reward_tokenizer(source).save_pretrained(folder)
    scorer = Scorer(folder, max_length=recipe.max_length)
    stock: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def one_by_one(texts: Texts) -> list[float]:
        scores = []
        for prompt, response in texts:
            ids = encode_for_reward(scorer.tokenizer, prompt, response, recipe.max_length).ids
            with torch.inference_mode():
                scores.append(stock(input_ids=torch.tensor([ids])).logits.item())
        return scores

    return one_by_one, lambda texts: scorer.heads(texts)[0]


def main() -> None:
    every = responses()
    with tempfile.TemporaryDirectory() as folder:
        one_by_one, batched = sides(Path(folder))
    seconds = {one_by_one: 0.0, batched: 0.0}
    scores: dict[Any, list[float]] = {one_by_one: [], batched: []}
    for side in seconds:
        side(every[:8])
    for number in range(ROUNDS):
        for side in (one_by_one, batched)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            scores[side] += side(every[number::ROUNDS])
            seconds[side] += time.perf_counter() - start
    apart = max(abs(one - other) for one, other in zip(scores[one_by_one], scores[batched], strict=True))
    print(f"{len(every)} responses one by one:       {seconds[one_by_one]:6.2f} s")
    print(f"{len(every)} responses, sorted batches:  {seconds[batched]:6.2f} s (scores differ by {apart:.0e} at most)")
    print(f"one by one / sorted batches: {seconds[one_by_one] / seconds[batched]:.2f} (to stay at 1.3 or above)")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("ATTUNE_DEBUG", "1")
    django.setup()
    main()
