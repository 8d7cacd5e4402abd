import json

import pytest

from annotation.errors import InputError
from training.pairs import (
    AggregateRanking,
    PreferencePair,
    all_pairs,
    authors_pair,
    authors_ranking,
    best_worst_pair,
    read_pairs,
    record_writer,
    trl_pair,
)

PAIR = PreferencePair("q1", "I cannot\nsleep, 眠れない", "a", "Better", "b", "Worse", rank_gap=3, weight=0.1)


def ranking(scores=(10, 5, 0), texts=("A", "B", "C")):
    return AggregateRanking("q1", "Post", ("a", "b", "c")[: len(texts)], texts, scores)


def test_best_and_worst_make_one_pair():
    assert best_worst_pair(ranking()) == [PreferencePair("q1", "Post", "a", "A", "c", "C", rank_gap=2, weight=1)]


def test_all_pairs_weigh_as_one_ranking():
    pairs = all_pairs(ranking())
    assert [(pair.chosen_id, pair.rejected_id, pair.rank_gap) for pair in pairs] == [
        ("a", "b", 1),
        ("a", "c", 2),
        ("b", "c", 1),
    ]
    assert sum(pair.weight for pair in pairs) == pytest.approx(1)


def test_ties_make_no_pair():
    assert best_worst_pair(ranking(scores=(0, 0, 0))) == []
    assert all_pairs(ranking(scores=(0, 0, 0))) == []
    pairs = all_pairs(ranking(scores=(5, 5, -10)))
    assert [(pair.chosen_id, pair.rejected_id, pair.weight) for pair in pairs] == [("a", "c", 0.5), ("b", "c", 0.5)]


def test_the_same_text_twice_makes_no_pair():
    assert best_worst_pair(ranking(texts=("A", "B", "A"))) == []
    assert len(all_pairs(ranking(texts=("A", "B", "A")))) == 2


def test_a_single_response_makes_no_pair():
    assert best_worst_pair(ranking(scores=(0,), texts=("A",))) == []
    assert all_pairs(ranking(scores=(0,), texts=("A",))) == []


def written(path, records, *, as_list):
    with record_writer(path, as_list=as_list) as write:
        for record in records:
            write(record)
    return path


def test_trl_pairs_are_conversational_and_come_back_whole(tmp_path):
    path = written(tmp_path / "pairs.jsonl", [trl_pair(PAIR)] * 2, as_list=False)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["prompt"] == [{"role": "user", "content": PAIR.prompt}]
    assert json.loads(lines[1])["rejected"] == [{"role": "assistant", "content": "Worse"}]
    assert read_pairs(path) == [PAIR, PAIR]


def test_the_authors_pairs_come_back_but_for_gap_and_weight(tmp_path):
    path = written(tmp_path / "empathy_pairs.json", [authors_pair(PAIR)] * 2, as_list=True)
    assert len(json.loads(path.read_text(encoding="utf-8"))) == 2
    assert read_pairs(path)[1] == PreferencePair("q1", PAIR.prompt, "a", "Better", "b", "Worse")


def test_the_authors_rankings_are_a_json_list_even_when_empty(tmp_path):
    path = written(tmp_path / "r.json", [authors_ranking(ranking())], as_list=True)
    assert json.loads(path.read_text())[0]["ranking"][2] == {"rank": 3, "response_id": "c", "response_text": "C"}
    assert json.loads(written(tmp_path / "none.json", [], as_list=True).read_text()) == []


def test_plain_text_pairs_get_ids_that_equal_texts_share(tmp_path):
    path = tmp_path / "plain.jsonl"
    path.write_text(
        '{"prompt": "P", "chosen": "A", "rejected": "B"}\n\n{"prompt": "P", "chosen": "B", "rejected": "C"}\n'
    )
    first, second = read_pairs(path)
    assert first.prompt_id == second.prompt_id
    assert first.rejected_id == second.chosen_id != first.chosen_id
    assert (first.prompt, first.chosen, first.rejected) == ("P", "A", "B")


def test_numbers_serve_as_ids(tmp_path):
    record = authors_pair(PAIR) | {"question_id": 7}
    assert read_pairs(written(tmp_path / "p.json", [record], as_list=True))[0].prompt_id == "7"


GOOD = json.dumps(trl_pair(PAIR))
WRONG = [
    ("", "the file is empty"),
    (GOOD + "\nnot json\n", "row 2: not JSON"),
    (GOOD + "\n3\n", "row 2: an object is required"),
    (GOOD + GOOD, "row 1: one object a line"),
    (GOOD + '\n{"prompt": "P", "chosen": "A"}', "row 2, column rejected"),
    ('{"prompt": "P", "chosen": " ", "rejected": "B"}', "row 1, column chosen: a text is required"),
    ('{"prompt": "P", "chosen": "A", "rejected": "B", "weight": 0}', "row 1, column weight: a number above 0"),
    ('{"prompt": "P", "chosen": "A", "rejected": "B", "rank_gap": "1"}', "row 1, column rank_gap"),
    ('{"prompt": "P", "chosen": "A", "rejected": "B", "prompt_id": null}', "row 1, column prompt_id"),
    ('{"prompt": [], "chosen": "A", "rejected": "B"}', "one message of the role user"),
    ('{"prompt": [{"role": "system", "content": "S"}], "chosen": "A", "rejected": "B"}', "role user"),
    ('{"prompt": "P", "chosen": [{"role": "assistant"}], "rejected": "B"}', "row 1, column chosen: a text"),
    ('[{"question_id": "q", "question_text": "P", "chosen": "A"}]', "row 1, column chosen: an object is required"),
    ('[\n{"question_id": "q",\n"chosen": {}, "rejected": {}}]', "row 2, column question_text"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_a_wrong_file_is_named_with_row_and_column_in_one_line(tmp_path, content, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
