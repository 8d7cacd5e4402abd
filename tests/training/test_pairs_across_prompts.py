"""Pairs whose responses answer different prompts: read, parted without a leak, refused where a policy would learn."""

import json
from dataclasses import replace

import pytest

from annotation.errors import InputError
from training.pairs import PreferencePair, read_pairs, require_one_prompt
from training.sources import hold_out


def conversation(prompt, response):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]


def read(tmp_path, *records):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return read_pairs(path)


def test_each_response_brings_its_own_prompt(tmp_path):
    record = {"chosen": conversation("P", "A"), "rejected": conversation("Q", "B"), "weight": 0.5}
    named = record | {"prompt_id": 1, "rejected_prompt_id": "q", "chosen_id": "a", "rejected_id": "b"}
    first, second = read(tmp_path, record, named)
    assert first.texts == second.texts == (("P", "A"), ("Q", "B"))
    assert first.prompt_ids[0] != first.prompt_ids[1]
    assert second.prompt_ids == ("1", "q")
    assert (second.chosen_id, second.rejected_id, second.weight) == ("a", "b", 0.5)


def test_two_conversations_that_begin_alike_are_a_pair_of_one_prompt(tmp_path):
    implicit = {"chosen": conversation("P", "A"), "rejected": conversation("P", "B")}
    explicit = {"prompt": "P", "chosen": "A", "rejected": "B"}
    first, second = read(tmp_path, implicit, explicit)
    assert first == second
    assert first.rejected_prompt is None
    assert read(tmp_path, implicit | {"prompt_id": "p"}) == [replace(first, prompt_id="p")]


def test_texts_without_a_prompt_are_told_by_themselves(tmp_path):
    first, second = read(tmp_path, {"chosen": "A", "rejected": "B"}, {"chosen": "C", "rejected": "A"})
    assert first.texts == (("", "A"), ("", "B"))
    assert first.prompt_ids[0] == second.prompt_ids[1]
    assert len({*first.prompt_ids, *second.prompt_ids}) == 3


def test_texts_without_a_prompt_may_name_the_one_they_answered(tmp_path):
    record = {"chosen": "A", "rejected": "B", "prompt_id": "p"}
    same, across = read(tmp_path, record, record | {"rejected_prompt_id": "q"})
    assert (same.prompt_ids, across.prompt_ids) == (("p", "p"), ("p", "q"))
    assert across.texts == (("", "A"), ("", "B"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_id": "p"}, "row 1, column rejected_prompt_id: both prompts need an id"),
        ({"rejected_prompt_id": "p"}, "row 1, column rejected_prompt_id: both prompts need an id"),
        ({"prompt_id": "p", "rejected_prompt_id": "p"}, "row 1, column rejected_prompt_id: both prompts need an id"),
        ({"chosen": conversation("P", "A")[::-1]}, "row 1, column chosen: without a column prompt, two messages"),
        ({"chosen": conversation("P", "A") * 2}, "row 1, column chosen: without a column prompt, two messages"),
        ({"rejected": conversation("Q", " ")}, "row 1, column rejected: a text is required"),
        ({"rejected": None}, "row 1, column rejected: a text is required here, or a list of one message of the role"),
        ({"rejected": conversation("P", "A")}, "row 1, column rejected: it is the text that was chosen"),
        ({"weight": 1e999}, "row 1, column weight: a number above 0 is required|not JSON"),
        ({"prompt": "P"}, "row 1, column chosen: a text is required here, or a list of one message"),
    ],
)
def test_a_wrong_pair_across_prompts_is_named_with_row_and_column(tmp_path, changes, message):
    record = {"chosen": conversation("P", "A"), "rejected": conversation("Q", "B")}
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, record | changes)
    assert "\n" not in str(caught.value)


def linked(count):
    """Every response to a prompt over every response to a later one."""
    return [
        PreferencePair(f"q{one}", f"P{one}", f"a{one}", "A", f"b{two}", "B", 1, 1.0, f"q{two}", f"P{two}")
        for one in range(count)
        for two in range(one + 1, count)
    ]


def test_no_prompt_of_a_pair_is_on_both_sides_of_a_split():
    pairs = linked(10)
    train, held_out = hold_out(pairs, share=0.3, seed=0)
    prompts = [{key for pair in side for key in pair.prompt_ids} for side in (train, held_out)]
    assert not prompts[0] & prompts[1]
    # Of 10 prompts 3 are held out: 3 pairs among them, 21 among the others, and 21 straddle.
    assert (len(train), len(held_out)) == (21, 3)


def test_too_few_pairs_across_prompts_cannot_be_parted():
    with pytest.raises(InputError, match="none is left to test on"):
        hold_out(linked(3), share=0.2, seed=0)


def test_a_policy_is_not_taught_from_pairs_that_share_no_prompt(pairs):
    require_one_prompt(pairs)
    for wrong in (linked(2)[0], replace(pairs[0], prompt="")):
        with pytest.raises(InputError, match="two responses to one prompt"):
            require_one_prompt([*pairs, wrong])
