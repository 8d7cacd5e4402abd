import pytest

from annotation.errors import InputError
from evaluation.agreement import agreement
from evaluation.label_file import read_labels, with_judges
from evaluation.label_shape import Condition, Shape, judges_shape_of, shape_of

MAPPED = ("item", "rater", "raters", "criterion", "label", "where")
OTHERS = ("judges", "criteria", "systems", "stratum", "map", "drop_label")
NOTHING = dict.fromkeys([*MAPPED, *OTHERS, *(f"judge_{name}" for name in MAPPED)])


def shape(**options):
    return shape_of({**NOTHING, "duplicates": "refuse", **options})


def judges_shape(**options):
    return judges_shape_of({**NOTHING, "duplicates": "refuse", **options})


@pytest.fixture
def write(tmp_path):
    def write(text, name="labels.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def rows(labels):
    frame = labels.frame.astype(str)
    return [tuple(row) for row in frame[["item", "rater", "criterion", "label", "rater_kind"]].to_numpy()]


def refusal(path, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        read_labels(path, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_long_form_needs_no_option(write):
    path = write("item,rater,criterion,label,rater_kind\n1, R1 ,s,A,human\n\n1,gpt,s,B,judge\n")
    assert rows(read_labels(path)) == [("1", "R1", "s", "A", "human"), ("1", "gpt", "s", "B", "judge")]


def test_other_columns_and_an_item_of_two(write):
    path = write("q,turn,who,vote\n81,1,R1,A\n81,2,R1,B\n")
    found = rows(read_labels(path, shape(item="q,turn", rater="who", label="vote")))
    assert found == [("81 | 1", "R1", "all", "A", "human"), ("81 | 2", "R1", "all", "B", "human")]


def test_items_of_other_cells_are_never_one(write):
    path = write("q,turn,who,vote\na | b,c,R1,A\na,b | c,R1,A\n")
    assert len({row[0] for row in rows(read_labels(path, shape(item="q,turn", rater="who", label="vote")))}) == 2


def test_a_criterion_column_is_used_where_there_is_one(write):
    path = write("q,who,vote,criterion,aspect\n1,R1,A,safety,x\n")
    mapped = {"item": "q", "rater": "who", "label": "vote"}
    assert rows(read_labels(path, shape(**mapped)))[0][2] == "safety"
    assert rows(read_labels(path, shape(**mapped, criterion="aspect")))[0][2] == "x"


def test_a_column_a_rater_with_judges_and_gaps(write):
    path = write("q,ann1,ann2,gpt\n1,A,B,A\n2,,B,garbage\n")
    found = rows(read_labels(path, shape(item="q", raters="ann1,ann2", judges="gpt", drop_label=["garbage"])))
    assert found == [
        ("1", "ann1", "all", "A", "human"),
        ("1", "ann2", "all", "B", "human"),
        ("2", "ann2", "all", "B", "human"),
        ("1", "gpt", "all", "A", "judge"),
    ]


def test_a_column_a_criterion_with_judges_by_name(write):
    path = write("q,who,empathy,safety\n1,human,5,4\n1,gpt,5,\n")
    found = rows(read_labels(path, shape(item="q", rater="who", criteria="empathy,safety", judges="gpt")))
    assert found == [
        ("1", "human", "empathy", "5", "human"),
        ("1", "gpt", "empathy", "5", "judge"),
        ("1", "human", "safety", "4", "human"),
    ]


def test_labels_are_recoded_and_dropped(write):
    path = write("item,rater,criterion,label\n1,R1,s,tie (inconsistent)\n1,R2,s,x=y\n1,R3,s,?\n")
    found = rows(read_labels(path, shape(map=["tie (inconsistent)=tie", "x=y=A"], drop_label=["?"])))
    assert [row[3] for row in found] == ["tie", "A"]


VOTES = """q,model_a,model_b,who,winner
1,zephyr,alpaca,R1,model_a
1,alpaca,zephyr,R2,model_a
1,alpaca,zephyr,R3,zephyr
1,zephyr,alpaca,R4,right
1,zephyr,alpaca,R5,A
1,zephyr,alpaca,R6,tie
2,alpaca,bard,R1,B
"""
OF_VOTES = {"item": "q", "rater": "who", "label": "winner", "systems": "model_a,model_b"}


def test_sides_are_turned_to_systems_in_alphabetical_order(write):
    found = rows(read_labels(write(VOTES), shape(**OF_VOTES)))
    assert [row[3] for row in found] == ["B", "A", "B", "A", "B", "tie", "B"]
    assert [row[0] for row in found] == ["1 | alpaca | zephyr"] * 6 + ["2 | alpaca | bard"]


def test_swapping_the_sides_of_the_file_changes_nothing(write):
    header, *lines = VOTES.splitlines()
    names = {"model_a": "model_b", "A": "B", "B": "A", "right": "left"}
    swapped = []
    for line in lines:
        q, first, second, who, winner = line.split(",")
        swapped.append(",".join([q, second, first, who, names.get(winner, winner)]))
    same = read_labels(write("\n".join([header, *swapped])), shape(**OF_VOTES))
    assert rows(same) == rows(read_labels(write(VOTES, "other.csv"), shape(**OF_VOTES)))


def test_a_label_that_names_no_side_or_both_is_refused(write):
    path = write("q,model_a,model_b,who,winner\n1,x,y,R1,tie\n1,x,y,R2,tie (inconsistent)\n")
    said = refusal(path, shape(**OF_VOTES))
    assert "row 3, column winner: 'tie (inconsistent)' does not name one side: write model_a, model_b," in said
    # Here A is the system on the right and the word for the left.
    path = write("q,model_a,model_b,who,winner\n1,B,A,R1,A\n")
    assert "row 2, column winner: 'A' does not name one side" in refusal(path, shape(**OF_VOTES))
    path = write("q,model_a,model_b,who,winner\n1,x,x,R1,tie\n")
    assert "row 2, column model_b: 'x' stands on both sides" in refusal(path, shape(**OF_VOTES))


def test_rows_are_chosen_by_value_and_by_start(write):
    path = write("item,rater,criterion,label,turn\n1,expert_1,s,A,1\n1,author_1,s,A,1\n1,expert_2,s,A,2\n")
    assert [row[1] for row in rows(read_labels(path, shape(where=["turn=1", "rater^=expert"])))] == ["expert_1"]
    assert [row[1] for row in rows(read_labels(path, shape(where=["turn!=1"])))] == ["expert_2"]
    assert "column turn: no row is left where turn=3" in refusal(path, shape(where=["turn=3"]))
    assert "column trun is missing" in refusal(path, shape(where=["trun=1"]))
    assert Condition.parse("a^=b=c") == Condition("a", "^=", "b=c")


def test_a_rater_twice_on_an_item_is_refused_unless_the_first_stands(write):
    path = write("item,rater,criterion,label\n1,R1,s,A\n2,R1,s,A\n1,R1,s,B\n")
    said = refusal(path)
    assert "row 4, column rater: R1 labelled item 1 on s before, in row 2: keep one, or use --duplicates first" in said
    found = read_labels(path, shape(duplicates="first"))
    assert [row[3] for row in rows(found)] == ["A", "A"]
    assert found.repeated == 1


def test_an_item_twice_in_a_wide_table_is_refused_with_its_column(write):
    path = write("q,ann1,ann2\n1,A,A\n1,,B\n")
    assert "row 3, column ann2: ann2 labelled item 1 on all before, in row 2" in refusal(
        path, shape(item="q", raters="ann1,ann2")
    )


def test_rows_are_numbered_as_in_the_file(write):
    path = write('item,rater,criterion,label\n"1\n2",R1,s,A\n\n3,R1,s,Z\n')
    assert "row 5, column label: 'Z' is not in the order A,B" in refusal(path, order=["A", "B"])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("q,R\n1,\n", {"item": "q", "raters": "R"}, "no label is left"),
        ("q,R\n,A\n", {"item": "q", "raters": "R"}, "row 2, column q: a text is required"),
        ("q,R\n1,A\n", {"item": "q", "raters": "R,S"}, "row 1: column S is missing: it has q, R"),
        ("q,R\n1,A\n", {"item": "q", "rater": "R", "label": "L"}, "row 1: column L is missing"),
        ("q,t,r,l\n1,,R1,A\n", {"item": "q,t", "rater": "r", "label": "l"}, "row 2, column t: a text is required"),
        ("q,r,l\n1,R1,\n", {"item": "q", "rater": "r", "label": "l"}, "row 2, column l: a label is required here"),
        ("q,r,l\n1,R1,A\n", {"item": "q", "rater": "r", "label": "l", "judges": "gpt"}, "no row is by gpt"),
        ("q,R,criterion\n1,A,\n", {"item": "q", "raters": "R"}, "row 2, column criterion: a text is required"),
        ("q,r,l\n1,R1,A,\n", {"item": "q", "rater": "r", "label": "l"}, "row 2: 4 cells where the header names 3"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(write, text, options, message):
    path = write(text)
    said = refusal(path, shape(**options))
    assert message in said
    assert str(path) in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"raters": "a,b", "criteria": "c"}, "--raters and --criteria"),
        ({"raters": "a,b", "label": "c"}, "--label goes with neither"),
        ({"systems": "a"}, "--systems names two columns"),
        ({"systems": "a,a"}, "--systems a,a names a column twice"),
        ({"item": "a,,b"}, "--item a,,b names a column twice or an empty one"),
        ({"map": ["tie"]}, "--map tie: write it as LABEL=LABEL"),
        ({"map": ["a=b", "a=c"]}, "--map a=c: 'a' is recoded twice"),
        ({"where": ["turn"]}, "--where turn: write it as COLUMN=VALUE"),
    ],
)
def test_options_that_contradict_each_other_are_named(options, message):
    with pytest.raises(ValueError, match="--") as caught:
        shape(**options)
    assert message in str(caught.value)


def test_judges_in_a_file_of_their_own_are_read_alike_or_by_their_own_options(write):
    people = write("q,turn,who,vote\n1,1,R1,A\n1,1,R2,B\n")
    options = {"item": "q,turn", "rater": "who", "label": "vote", "where": ["who^=R"], "map": ["x=B"]}
    alike = read_labels(write("q,turn,who,vote\n1,1,gpt,x\n", "alike.csv"), judges_shape(**options))
    assert rows(alike) == [("1 | 1", "gpt", "all", "B", "judge")]
    own = {"judge_rater": "judge", "judge_label": "verdict", "judge_where": ["prompt=plain"]}
    other = write("q,turn,judge,prompt,verdict\n1,1,gpt,plain,A\n1,1,gpt,chain,B\n", "other.csv")
    found = with_judges(read_labels(people, shape(**options)), read_labels(other, judges_shape(**options, **own)))
    judged = agreement(found.frame, bootstrap=0)["pooled"]["judges"]["gpt"]
    assert judged["agreement_with_raters"]["value"] == 0.5


def test_people_in_a_wide_table_and_a_judge_in_a_long_one(write):
    options = {"item": "q", "raters": "gold", "judge_rater": "judge", "judge_label": "first"}
    people = read_labels(write("q,gold\n1,A\n2,B\n"), shape(**options))
    judges = read_labels(write("q,judge,first\n1,gpt,A\n2,gpt,A\n", "judges.csv"), judges_shape(**options))
    frame = with_judges(people, judges).frame
    assert agreement(frame, bootstrap=0)["pooled"]["judges"]["gpt"]["agreement_with_raters"]["value"] == 0.5


def test_a_wide_table_of_judges_beside_a_long_one_of_people(write):
    options = {"item": "q", "rater": "who", "label": "vote", "judge_raters": "gpt,claude"}
    judges = read_labels(write("q,gpt,claude\n1,A,B\n"), judges_shape(**options))
    assert rows(judges) == [("1", "gpt", "all", "A", "judge"), ("1", "claude", "all", "B", "judge")]


def test_a_judge_labels_what_is_of_the_stratum_it_is_of_to_people(write):
    options = {"item": "q", "rater": "who", "label": "vote", "stratum": "risk"}
    people = read_labels(write("q,who,vote,risk\n1,R1,A,high\n2,R1,A,low\n"), shape(**options))
    judges = read_labels(write("q,who,vote\n1,gpt,A\n2,gpt,A\n", "judges.csv"), judges_shape(**options))
    frame = with_judges(people, judges).frame
    assert list(frame["stratum"].astype(str)) == ["high", "low", "high", "low"]


def test_not_every_item_needs_a_stratum(write):
    path = write("item,rater,criterion,label,risk\n1,R1,s,A,high\n2,R1,s,A,\n")
    assert list(read_labels(path, shape(stratum="risk")).frame["stratum"].astype(str)) == ["high", ""]


def test_votes_and_a_judges_file_give_shares_of_pairs_of_votes(write):
    """Zheng et al. 2023, table 5: each pair of votes on a question and pair of systems has the same weight."""
    humans = "q,turn,model_a,model_b,judge,winner\n" + "".join(
        f"{q},1,{a},{b},{who},{winner}\n"
        for q, a, b, who, winner in [
            (1, "x", "y", "expert_1", "model_a"),
            (1, "y", "x", "expert_2", "model_b"),
            (1, "x", "y", "expert_3", "model_b"),
            (2, "x", "y", "expert_1", "model_a"),
            (2, "x", "y", "expert_2", "tie"),
            (2, "x", "y", "author_1", "model_b"),
        ]
    )
    judge = "q,turn,model_a,model_b,judge,winner\n1,1,y,x,gpt,model_b\n2,1,x,y,gpt,tie (inconsistent)\n"
    options = {
        "item": "q,turn",
        "rater": "judge",
        "label": "winner",
        "systems": "model_a,model_b",
        "where": ["turn=1", "judge^=expert"],
        "map": ["tie (inconsistent)=tie"],
    }
    people = read_labels(write(humans), shape(**options))
    judges = read_labels(write(judge, "judge.csv"), judges_shape(**options))
    pooled = agreement(with_judges(people, judges).frame, bootstrap=0)["pooled"]
    # Four pairs of votes, one of which agrees: x, x, y on the first question; x and a tie on the second.
    assert pooled["pairwise_agreement"]["value"] == 1 / 4
    assert pooled["pairwise_agreement_without_ties"]["value"] == 1 / 3
    # Five votes beside the judge's: x on the first, a tie on the second.
    assert pooled["judges"]["gpt"]["agreement_with_raters_pairwise"]["value"] == 3 / 5
    assert pooled["judges"]["gpt"]["agreement_with_raters_pairwise_without_ties"]["value"] == 2 / 3


def test_the_default_shape_is_the_promised_long_form():
    assert Shape().required == ("item", "rater", "criterion", "label")
    assert shape() == Shape()
