import numpy as np
import pytest
from django.core.management import CommandError, call_command

from annotation.models import (
    ConsentRecord,
    ParticipantStatus,
    RankedResponse,
    Ranking,
    RankingTask,
    Rater,
    Study,
    StudyStatus,
)
from annotation.simulation import ranks, simulate_rankings
from tests.annotation.study_folder import replace, write_study

QUALITIES = np.array([[5, 1], [3, 3], [1, 5], [2, 2]])


def test_each_rater_gives_a_permutation_on_each_criterion():
    drawn = simulate_rankings(QUALITIES, 50, seed=1)
    assert drawn.shape == (50, 4, 2)
    assert (np.sort(drawn, axis=1) == np.arange(1, 5)[None, :, None]).all()


def test_better_responses_are_ranked_better_and_raters_differ():
    drawn = simulate_rankings(QUALITIES, 400, seed=2)
    assert drawn.mean(axis=0)[:, 0].argsort().tolist() == [0, 1, 3, 2]
    assert (drawn[:, 0, 0] < drawn[:, 2, 0]).mean() > 0.8
    assert len(np.unique(drawn[:, :, 0], axis=0)) > 5


def test_the_seed_fixes_the_draw_and_a_high_temperature_makes_it_chance():
    assert (simulate_rankings(QUALITIES, 20, 3) == simulate_rankings(QUALITIES, 20, 3)).all()
    assert (simulate_rankings(QUALITIES, 20, 3) != simulate_rankings(QUALITIES, 20, 4)).any()
    hot = simulate_rankings(QUALITIES, 4000, 5, temperature=1e6)
    assert hot.mean(axis=0) == pytest.approx(np.full((4, 2), 2.5), abs=0.1)


def test_the_highest_utility_is_rank_one():
    assert ranks(np.array([[0.1], [2.0], [1.0]])).tolist() == [[3], [1], [2]]


def test_impossible_requests_are_refused():
    for qualities, n_raters in (([1, 2], 1), ([[]], 1), ([[1, 2]], 0)):
        with pytest.raises(ValueError, match="there must be a rater"):
            simulate_rankings(qualities, n_raters, 0)
    with pytest.raises(ValueError, match="temperature"):
        simulate_rankings([[1]], 1, 0, temperature=0)


@pytest.fixture
def folder(db, tmp_path):
    folder = write_study(tmp_path)
    call_command("load_study", str(folder), "--open")
    return folder


def simulate(folder, *options):
    call_command("simulate_participants", str(folder), "--study", "small", *options)


def test_every_prompt_is_ranked_by_simulated_raters_who_consented_to_nothing(folder, capsys):
    simulate(folder)
    raters = Rater.objects.all()
    assert raters.count() == 6 * 3 / 2
    assert all(rater.simulated and rater.participant.status == ParticipantStatus.COMPLETE for rater in raters)
    assert set(raters.values_list("name", flat=True)) >= {"Sim-P01", "Sim-P09"}
    assert not ConsentRecord.objects.exists()
    assert Ranking.objects.submitted().count() == 6 * 3 * 6
    assert RankedResponse.objects.count() == 6 * 3 * 6 * 3
    assert all(prompt.ranking_tasks.count() == 3 for prompt in Study.objects.get().prompts.all())
    assert "9 simulated participants gave 108 rankings" in capsys.readouterr().out


def test_simulated_raters_leave_the_places_of_people_free(folder):
    simulate(folder)
    assert not RankingTask.objects.filter(slot__isnull=False).exists()


def test_simulating_again_changes_nothing_and_says_so(folder, capsys):
    simulate(folder)
    count = Ranking.objects.count()
    simulate(folder, "--seed", "1")
    assert Ranking.objects.count() == count
    assert "already" in capsys.readouterr().out


def test_the_number_of_raters_and_the_raters_a_prompt_may_be_given(folder):
    simulate(folder, "--raters", "4", "--per-prompt", "2")
    assert sorted(rater.ranking_tasks.count() for rater in Rater.objects.all()) == [3, 3, 3, 3]


@pytest.mark.parametrize("options", [("--raters", "2"), ("--raters", "19"), ("--per-prompt", "0"), ("--raters", "0")])
def test_raters_who_cannot_share_out_the_tasks_are_refused(folder, options):
    with pytest.raises(CommandError, match="at least as many raters"):
        simulate(folder, *options)
    assert not Rater.objects.exists()


def test_a_folder_of_another_study_is_refused(folder, tmp_path):
    other = write_study(tmp_path / "other", posts=7)
    with pytest.raises(CommandError, match="post p7: not in study small"):
        simulate(other)
    replace(folder / "posts_a.toml", "empathy = 5, ", "")
    with pytest.raises(CommandError, match="post p1, response warm: qualities lacks empathy"):
        simulate(folder)
    assert not Rater.objects.exists()


BARE = '[[posts]]\nkey = "bare"\ntext = "Nobody has answered this one yet."'


def test_a_prompt_without_responses_is_not_ranked(folder):
    (folder / "posts_b.toml").write_text(BARE)
    call_command("load_study", str(folder), "--slug", "more", "--open")
    call_command("simulate_participants", str(folder), "--study", "more")
    assert Ranking.objects.submitted().count() == 6 * 3 * 6


@pytest.mark.parametrize("files", [{}, {"posts_a.toml": BARE}])
def test_a_folder_without_responses_is_refused(folder, tmp_path, files):
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, text in files.items():
        (empty / name).write_text(text)
    with pytest.raises(CommandError, match=r"empty: no posts_\*.toml with responses in it"):
        simulate(empty)


def test_only_an_open_study_takes_simulated_participants(folder):
    Study.objects.get().advance(StudyStatus.CLOSED)
    with pytest.raises(CommandError, match="is closed"):
        simulate(folder)
