"""What matters to a person becomes weights, and the weights shares of adapters that exist."""

import json
import math
import shutil

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from annotation.errors import InputError
from annotation.models import Answer, ItemKind, QuestionnaireItem
from tests.factories import make_clinician, make_participant, make_study
from tests.training.conftest import command_line
from tests.training.test_adapters import assert_alike, deltas, make_adapter, weighted
from training.adapters import read_adapter
from training.models import Run, RunKind
from training.personal_weights import at_least, mix, nearest_in_hull, personal_mix, rank_order_centroid
from training.runs import RunPlan, recorded_run


def two(empathy):
    return {"empathy": empathy, "safety": 1 - empathy}


LINE = {f"m{empathy:g}": two(empathy) for empathy in (0.1, 0.3, 0.5, 0.7, 0.9)}


def test_weights_of_an_order_are_the_published_centroids():
    # Barron and Barrett 1996, table of ROC weights.
    assert list(rank_order_centroid({"a": 5, "b": 4, "c": 3}).values()) == pytest.approx(
        [0.6111, 0.2778, 0.1111], abs=1e-4
    )
    four = rank_order_centroid({"d": 1, "c": 2, "b": 3, "a": 5})
    assert [four[key] for key in "abcd"] == pytest.approx([0.5208, 0.2708, 0.1458, 0.0625], abs=1e-4)


def test_criteria_rated_alike_weigh_alike():
    assert rank_order_centroid({"a": 3, "b": 3}) == {"a": 0.5, "b": 0.5}
    weights = rank_order_centroid({"a": 5, "b": 2, "c": 2})
    assert weights["b"] == weights["c"] == pytest.approx((0.2778 + 0.1111) / 2, abs=1e-4)
    assert sum(weights.values()) == pytest.approx(1)


def test_the_centroid_is_the_mean_of_all_weights_in_that_order():
    draws = np.sort(np.random.default_rng(0).dirichlet(np.ones(3), 200_000), axis=1)[:, ::-1].mean(axis=0)
    assert list(rank_order_centroid({"a": 3, "b": 2, "c": 1}).values()) == pytest.approx(draws, abs=2e-3)


def test_a_floor_takes_from_the_others_in_proportion():
    weights = {"a": 0.6, "b": 0.3, "safety": 0.1}
    raised = at_least(weights, {"safety": 0.4})
    assert raised == pytest.approx({"a": 0.4, "b": 0.2, "safety": 0.4})
    assert at_least(weights, {"safety": 0.1}) == weights
    # What the first floor takes may bring another criterion to its own.
    assert at_least(weights, {"safety": 0.4, "b": 0.25}) == pytest.approx({"a": 0.35, "b": 0.25, "safety": 0.4})
    assert at_least(weights, {"a": 0.2, "b": 0.4, "safety": 0.4}) == pytest.approx({"a": 0.2, "b": 0.4, "safety": 0.4})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.lists(st.floats(0, 0.16), min_size=6, max_size=6))
def test_weights_sum_to_one_and_keep_every_floor(ratings, floors):
    weights = rank_order_centroid({f"c{i}": rating for i, rating in enumerate(ratings)})
    floors = {f"c{i}": floor for i, floor in enumerate(floors[: len(ratings)])}
    raised = at_least(weights, floors)
    assert sum(raised.values()) == pytest.approx(1)
    assert all(raised[key] >= floor - 1e-9 for key, floor in floors.items())


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        ({"trust": 0.2}, "--at-least trust: the criteria are empathy, safety"),
        ({"safety": 1.2}, "--at-least safety=1.2: it must lie between 0 and 1"),
        ({"safety": -0.1}, "between 0 and 1"),
        ({"safety": 0.6, "empathy": 0.5}, "the floors sum to 1.1"),
    ],
)
def test_floors_that_cannot_be_kept_are_refused(floors, message):
    with pytest.raises(InputError, match=message):
        at_least(two(0.75), floors)


def test_between_two_criteria_the_two_neighbours_are_interpolated():
    found = mix(LINE, two(0.75))
    assert found.shares == pytest.approx({"m0.7": 0.75, "m0.9": 0.25})
    assert found.weights == pytest.approx(two(0.75))
    assert found.distance == 0


def test_an_adapter_trained_at_the_wanted_weights_is_taken_alone():
    assert mix(LINE, two(0.3)).shares == pytest.approx({"m0.3": 1.0})


def test_beyond_the_last_adapter_the_nearest_is_taken_and_the_distance_told():
    found = mix(LINE, two(0.95))
    assert found.shares == pytest.approx({"m0.9": 1.0})
    assert found.weights == pytest.approx(two(0.9))
    assert found.distance == pytest.approx(0.05 * math.sqrt(2))


def test_the_order_of_the_adapters_changes_nothing():
    grid = {f"g{i}{j}": {"a": i / 4, "b": j / 4, "c": (4 - i - j) / 4} for i in range(5) for j in range(5 - i)}
    wanted = {"a": 0.4, "b": 0.35, "c": 0.25}
    backwards = mix(dict(reversed(grid.items())), dict(reversed(wanted.items())))
    assert mix(grid, wanted).shares == backwards.shares


def random_points(seed, n, criteria):
    return np.random.default_rng(seed).dirichlet(np.ones(criteria), n)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_the_barycentric_coordinates_in_the_delaunay_simplex(seed):
    corners = random_points(seed, 12, 3)
    wanted = corners[:5].mean(axis=0)
    names = [f"p{i:02}" for i in range(len(corners))]
    found = mix(
        {n: dict(zip("abc", c, strict=True)) for n, c in zip(names, corners, strict=True)},
        dict(zip("abc", wanted, strict=True)),
    )
    # Coordinates in the plane of weights that sum to 1, which keep distances.
    basis = np.array([[1, -1, 0], [1, 1, -2]]).T / np.sqrt([2, 6])
    plane = Delaunay(corners @ basis)
    simplex = int(plane.find_simplex(wanted @ basis))
    partial = plane.transform[simplex, :2] @ (wanted @ basis - plane.transform[simplex, 2])
    expected = dict(zip((names[i] for i in plane.simplices[simplex]), [*partial, 1 - partial.sum()], strict=True))
    assert found.distance == 0
    assert found.shares == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 6))
def test_no_point_of_the_hull_is_nearer_than_the_one_that_is_taken(seed, n, criteria):
    corners, target = random_points(seed, n, criteria), random_points(seed + 1, 1, criteria)[0]
    point = nearest_in_hull(corners, target)
    # Optimal exactly where no corner lies beyond the plane through the point, across the way to the target.
    assert ((corners - point) @ (target - point)).max() < 1e-9
    found = mix(
        {str(i): dict(zip("abcdef", corner, strict=False)) for i, corner in enumerate(corners)},
        dict(zip("abcdef", target, strict=False)),
    )
    assert sum(found.shares.values()) == pytest.approx(1)
    reached = sum(share * corners[int(name)] for name, share in found.shares.items())
    assert reached == pytest.approx(point, abs=1e-6)
    assert found.distance == pytest.approx(np.linalg.norm(point - target), abs=1e-6)


def test_two_adapters_of_the_same_weights_are_refused():
    with pytest.raises(InputError, match="runs a and b were trained at the same weights"):
        mix({"a": two(0.5), "b": two(0.5)}, two(0.5))


def test_a_profile_needs_a_rating_of_each_criterion_and_no_other():
    stated = {"empathy": 5.0, "safety": 4.0, "trust": 5.0}
    assert personal_mix(LINE, stated, {}, {}).wanted == two(0.75)
    assert personal_mix(LINE, {"empathy": 3.0}, {"safety": 5.0}, {}).wanted == two(0.25)
    assert personal_mix(LINE, stated, {}, {"safety": 0.4}).wanted == pytest.approx(two(0.6))
    for typed, floors, message in [
        ({"trust": 5.0}, {}, "--importance trust: the adapters weigh empathy, safety"),
        ({"safety": 6.0}, {}, "--importance safety=6: it must lie between 1 and 5"),
        ({}, {"safety": 0.95}, "--at-least safety=0.95: the nearest that the adapters come to is 0.9"),
    ]:
        with pytest.raises(InputError, match=message):
            personal_mix(LINE, stated, typed, floors)
    with pytest.raises(InputError, match="no rating of safety: add --importance safety=N"):
        personal_mix(LINE, {"empathy": 5.0}, {}, {})


@pytest.fixture
def sweep(settings, tmp_path, tiny_policy):
    """Three MODPO runs over two criteria and the sweep that made them."""
    settings.VAR_DIR = tmp_path / "var"
    parents = []
    for seed, empathy in enumerate((0.2, 0.5, 0.9)):
        folder = make_adapter(tmp_path / f"adapter-{seed}", tiny_policy, seed=seed)
        config = {"model": str(tiny_policy), "criterion": "empathy", "weights": two(empathy)}
        with recorded_run(RunPlan(kind=RunKind.MODPO, config=config, name=f"modpo-{seed}")) as run:
            shutil.copytree(folder, run.folder, dirs_exist_ok=True)
        parents.append(run.row)
    with recorded_run(RunPlan(kind=RunKind.SWEEP, config={}, name="sweep", parents=parents)) as run:
        pass
    return run.row


@pytest.fixture
def person():
    """A participant who rated empathy 5, safety 4 and left trust blank."""
    study = make_study()
    rater = make_participant(study).rater
    for position, (key, value) in enumerate({"empathy": "5", "safety": "4", "trust": ""}.items(), start=1):
        item = QuestionnaireItem.objects.create(
            study=study, key=f"importance_{key}", position=position, section="s", text="?", kind=ItemKind.RATING
        )
        Answer.objects.create(rater=rater, item=item, value=value)
    return rater


def personalise(**options):
    call_command("personalise_adapter", *command_line(options))


@pytest.mark.django_db
def test_a_participants_ratings_make_the_exact_combination_of_the_neighbours(sweep, person, capsys):
    personalise(sweep="sweep", participant=person.name, study=person.study.slug, name="mine", json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["coefficients"] == pytest.approx({"modpo-1": 0.375, "modpo-2": 0.625})
    assert told["weights"] == told["wanted_weights"] == two(0.75)
    run = Run.objects.get(name="mine")
    assert (run.kind, run.rater, run.config["participant"]) == (RunKind.MERGE, person, person.name)
    assert {parent.name for parent in run.parents.all()} == {"modpo-1", "modpo-2"}
    parts = [read_adapter(Run.objects.get(name=name).folder, name) for name in ("modpo-1", "modpo-2")]
    assert_alike(deltas(read_adapter(run.folder, "mine")), weighted(parts, [0.375, 0.625]))
    # The person's answers stay in the questionnaire.
    assert run.config["importance"] == {}


@pytest.mark.django_db
def test_the_adapter_of_someone_who_withdraws_is_tainted_and_so_is_what_follows(sweep, person, capsys):
    personalise(sweep="sweep", participant=person.name, study=person.study.slug, name="mine")
    with recorded_run(RunPlan(kind=RunKind.GENERATION, config={}, parents=[Run.objects.get(name="mine")])) as child:
        pass
    assert not child.row.is_tainted
    person.withdraw()
    assert child.row.is_tainted
    with pytest.raises(CommandError, match="this participant has withdrawn"):
        personalise(sweep="sweep", participant=person.name, study=person.study.slug)


@pytest.mark.django_db
def test_the_adapter_of_a_simulated_participant_is_simulated(sweep, person):
    person.simulated = True
    person.save()
    personalise(sweep="sweep", participant=person.name, study=person.study.slug, name="mine")
    run = Run.objects.get(name="mine")
    assert run.is_simulated
    assert run.environment["simulated"] is True
    assert "**Simulated.**" in (run.folder / "README.md").read_text()


@pytest.mark.django_db
def test_a_typed_profile_out_of_reach_says_how_far_it_is(sweep, capsys):
    personalise(run=["modpo-0", "modpo-1"], importance=["empathy=5", "safety=1"], name="mine", method="svd", rank=1)
    captured = capsys.readouterr()
    assert "no combination of these adapters comes to empathy 0.75, safety 0.25: taken is the nearest" in captured.err
    assert "at a distance of 0.354" in captured.err
    assert captured.out.startswith("weights empathy 0.5, safety 0.5\nmine: 1 x modpo-1 by svd, rank 1, off by ")
    assert Run.objects.get(name="mine").config["importance"] == {"empathy": 5.0, "safety": 1.0}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweep": "nothing"}, "run nothing: there is no such run of kind sweep"),
        ({"sweep": "empty"}, "--sweep empty: it has no MODPO runs"),
        ({"run": ["sweep"]}, "no such run of kind modpo or dpo"),
        ({"sweep": "sweep"}, "no rating of empathy"),
        ({"sweep": "sweep", "importance": ["empathy=5", "empathy=4"]}, "empathy has a number already"),
        ({"sweep": "sweep", "importance": ["empathy=much"]}, "write it as name=number"),
        ({"sweep": "sweep", "participant": "P"}, "--participant and --study go together"),
        ({"sweep": "sweep", "participant": "P", "study": "S"}, "study S has no such participant"),
        ({"sweep": "sweep", "participant": "C", "study": "S"}, "study S has no such participant"),
    ],
)
def test_what_cannot_be_personalised_is_one_line(sweep, options, message):
    study = make_study(slug="S")
    rater = make_clinician(study)
    rater.name = "C"
    rater.save()
    with recorded_run(RunPlan(kind=RunKind.SWEEP, config={}, name="empty")):
        pass
    with pytest.raises(CommandError, match=message) as caught:
        personalise(**options)
    assert "\n" not in str(caught.value)
    assert not Run.objects.filter(kind=RunKind.MERGE).exists()
