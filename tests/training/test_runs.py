"""Runs are recorded whole or not at all."""

import json
import os
import socket
import time

import pytest
from django.db import OperationalError, connection

from annotation.errors import InputError, StudyError
from tests.factories import make_participant, make_study, make_system
from training.models import PreferenceDataset, Run, RunKind, RunStatus
from training.runs import (
    DivergedError,
    RunPlan,
    _write_record,
    finished_run,
    has_checkpoints,
    is_alive,
    read_record,
    recorded_run,
)
from training.sign_of_life import SILENCE, SignOfLife

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def var(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    return tmp_path


def plan(**changes):
    return RunPlan(**{"kind": RunKind.DPO, "config": {"criterion": "empathy", "seed": 3}, **changes})


def make_dataset(study, rater):
    dataset = PreferenceDataset.objects.create(
        study=study, criterion=study.criteria.first(), content_hash="c0ffee", path="d", pairs=1, rankings=1
    )
    dataset.raters.add(rater)
    return dataset


def test_a_finished_run_leaves_its_folder_and_a_record_of_all_that_made_it(var):
    study = make_study()
    dataset = make_dataset(study, make_participant(study, simulated=True).rater)
    data = var / "pairs.jsonl"
    data.write_text("{}")
    with recorded_run(plan(name="one", datasets=[dataset], files=[data])) as run:
        (run.folder / "weights").write_text("1 2 3")
        assert not (var / "runs" / "one").exists()
        run.metrics["loss"] = 0.5
    record = read_record(var / "runs" / "one")
    assert (var / "runs" / "one" / "weights").read_text() == "1 2 3"
    assert record["metrics"]["loss"] == 0.5
    assert record["datasets"] == [{"criterion": "empathy", "sha256": "c0ffee", "path": "d"}]
    assert len(record["files"][0]["sha256"]) == 64
    assert record["simulated"] is True
    assert record["environment"]["libraries"]["trl"]
    row = finished_run("one", RunKind.DPO)
    assert (row.metrics, row.folder) == (record["metrics"], var / "runs" / "one")
    assert [path.name for path in (var / "runs").iterdir()] == ["one"]


def test_what_a_simulated_run_leads_to_is_simulated(var):
    study = make_study()
    dataset = make_dataset(study, make_participant(study, simulated=True).rater)
    with recorded_run(plan(name="parent", datasets=[dataset])) as parent:
        pass
    with recorded_run(plan(name="child", parents=[parent.row])):
        pass
    assert read_record(var / "runs" / "child")["simulated"] is True


def test_pairs_beside_a_manifest_that_says_so_are_simulated(var):
    (var / "manifest.json").write_text(json.dumps({"simulated": True}))
    (var / "pairs.jsonl").write_text("{}")
    assert plan(files=[var / "pairs.jsonl"]).is_simulated
    assert not plan().is_simulated


@pytest.mark.parametrize(
    ("error", "message"),
    [(StudyError("no pairs"), "no pairs"), (RuntimeError("out of memory\nat line 3"), "run one failed: out of memory")],
)
def test_a_failure_is_one_line_in_the_row_and_leaves_no_file(var, error, message):
    def break_off():
        with recorded_run(plan(name="one")) as run:
            (run.folder / "half").write_text("half")
            raise error

    with pytest.raises(StudyError, match=message) as caught:
        break_off()
    assert "\n" not in str(caught.value)
    row = Run.objects.get()
    assert (row.status, row.error) == (RunStatus.FAILED, str(error).splitlines()[0])
    assert not any((var / "runs").iterdir())


def test_a_failure_frees_the_name(var):
    with pytest.raises(StudyError), recorded_run(plan(name="one")):
        raise StudyError("no")
    with recorded_run(plan(name="one")):
        pass
    assert Run.objects.get(name="one").status == RunStatus.DONE


def test_an_interrupted_run_is_recorded_as_failed(var):
    with pytest.raises(KeyboardInterrupt), recorded_run(plan(name="one")):
        raise KeyboardInterrupt
    assert Run.objects.get().error == "interrupted"


def test_a_metric_that_is_no_number_fails_the_run(var):
    with pytest.raises(StudyError), recorded_run(plan(name="one")) as run:
        run.metrics["loss"] = float("nan")
    assert Run.objects.get().status == RunStatus.FAILED
    assert not (var / "runs" / "one").exists()


def test_a_name_or_a_folder_is_taken_once(var):
    with recorded_run(plan(name="one", output=var / "here")):
        pass
    with pytest.raises(InputError, match="run one exists"), recorded_run(plan(name="one")):
        pass
    with pytest.raises(InputError, match="here exists"), recorded_run(plan(name="two", output=var / "here")):
        pass
    assert Run.objects.count() == 1


def left_running(var, name="one", **environment):
    """The row and the staging folder of a run whose process has gone, with a checkpoint."""
    row = Run.objects.create(
        name=name,
        kind=RunKind.DPO,
        config=plan().config,
        path=f"runs/{name}",
        environment={"process": {"host": socket.gethostname()}, "inputs": [], "simulated": False, **environment},
    )
    checkpoint = var / "runs" / f".{name}.partial" / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    return row, checkpoint.parents[1]


def test_a_run_that_is_still_going_keeps_its_name():
    with recorded_run(plan(name="one")) as run:
        assert is_alive(run.row)
        with pytest.raises(InputError, match="run one exists"), recorded_run(plan(name="one")):
            pass
        assert run.folder.is_dir()
    assert not is_alive(run.row)


def test_a_killed_run_gives_its_name_back(var):
    # As after a restart of its container, in which it has the host and the number that this process has.
    process = {"host": socket.gethostname(), "pid": os.getpid()}
    Run.objects.create(name="one", kind=RunKind.DPO, path="runs/one", environment={"process": process})
    (var / "runs" / ".one.partial").mkdir(parents=True)
    with recorded_run(plan(name="one")):
        pass
    assert Run.objects.filter(status=RunStatus.FAILED).get().error == "killed"
    assert [path.name for path in (var / "runs").iterdir()] == ["one"]


def test_what_is_left_of_nobody_is_in_nobodys_way(var):
    staging = var / "runs" / ".one.partial"
    (staging / "scratch-1").mkdir(parents=True)
    with recorded_run(plan(name="one")):
        pass
    unknown = var / "runs" / ".two.partial" / "checkpoints" / "checkpoint-1"
    unknown.mkdir(parents=True)
    (unknown / "trainer_state.json").touch()
    with pytest.raises(InputError, match="is of a run that this site does not know"), recorded_run(plan(name="two")):
        pass
    assert unknown.is_dir()


def test_two_processes_do_not_both_go_on_with_a_stopped_run(var, monkeypatch):
    _, staging = left_running(var)
    with SignOfLife(staging):
        # It looked dead to this process a moment ago.
        monkeypatch.setattr("training.runs.is_alive", lambda row: False)
        with pytest.raises(InputError, match="another process works at"), recorded_run(plan(resumable=True)):
            pass
    assert has_checkpoints(staging)


@pytest.mark.parametrize("silence", [0, SILENCE + 1])
def test_a_run_of_another_machine_is_dead_after_a_silence(var, silence):
    row, staging = left_running(var, process={"host": "elsewhere"})
    (staging / "heartbeat").touch()
    then = time.time() - silence
    os.utime(staging / "heartbeat", (then, then))
    assert is_alive(row) == (silence == 0)


@pytest.mark.parametrize("silence", [0, SILENCE + 1])
def test_where_files_take_no_locks_their_time_tells(var, monkeypatch, silence):
    def no_locks(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    row, staging = left_running(var)
    with SignOfLife(staging):
        then = time.time() - silence
        os.utime(staging / "heartbeat", (then, then))
        assert is_alive(row) == (silence == 0)


def test_a_run_shows_itself_all_the_time(var, monkeypatch):
    monkeypatch.setattr("training.sign_of_life.HEARTBEAT_SECONDS", 0.01)
    with recorded_run(plan(name="one")) as run:
        file = run.folder / "heartbeat"
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 20
        while file.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert [path.name for path in (var / "runs" / "one").iterdir() if path.name == "heartbeat"] == []


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory\nat line 3"), InputError("the hub is offline")])
def test_an_error_keeps_the_checkpoints_of_a_resumable_run(var, error):
    row, staging = left_running(var)

    def break_off():
        with recorded_run(plan(resumable=True)):
            raise error

    reason = str(error).splitlines()[0]
    with pytest.raises(StudyError, match=f"^run one stopped: {reason}. Its checkpoints are kept: the same command"):
        break_off()
    row.refresh_from_db()
    assert (row.status, row.error) == (RunStatus.RUNNING, reason)
    with recorded_run(plan(resumable=True)) as run:
        assert run.folder == staging
        assert has_checkpoints(staging)
    row.refresh_from_db()
    assert (row.status, row.error, row.environment["resumed"]) == (RunStatus.DONE, "", 2)


def test_a_run_that_went_astray_keeps_nothing(var):
    _, staging = left_running(var)
    with pytest.raises(DivergedError), recorded_run(plan(resumable=True)):
        raise DivergedError("the loss is no longer a number")
    assert not staging.exists()
    assert Run.objects.get().status == RunStatus.FAILED


def test_a_record_asks_nothing_of_the_database(var, django_assert_num_queries):
    dataset = make_dataset(study := make_study(), make_participant(study).rater)
    asked = plan(name="one", datasets=[PreferenceDataset.objects.get(pk=dataset.pk)])
    with recorded_run(asked) as run, django_assert_num_queries(0):
        _write_record(run, asked)


def test_a_run_that_was_cut_off_after_its_last_file_is_finished_by_the_next(var, monkeypatch):
    def cut_off(*args):
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr("training.runs._finish", cut_off)
        with pytest.raises(OperationalError), recorded_run(plan(name="one")) as run:
            run.metrics["loss"] = 0.5
    assert Run.objects.get().status == RunStatus.RUNNING
    with pytest.raises(InputError, match="run one exists"), recorded_run(plan(name="one")):
        pass
    row = finished_run("one", RunKind.DPO)
    assert row.metrics["loss"] == 0.5
    assert (row.folder / "run.json").is_file()


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_broke_during_training_costs_nothing(var):
    dataset = make_dataset(study := make_study(), make_participant(study).rater)
    with recorded_run(plan(name="one", datasets=[PreferenceDataset.objects.get(pk=dataset.pk)])):
        assert connection.connection is None
        connection.ensure_connection()
        # As a server that was restarted leaves it: open for us, of no use.
        connection.connection.close()
    assert finished_run("one", RunKind.DPO).folder.is_dir()


def test_a_new_system_comes_with_its_run_or_not_at_all(var):
    study = make_study()
    system = make_system(study)
    system.delete()
    system.pk, system._state.adding = None, True
    (var / "runs" / "one").mkdir(parents=True)
    with pytest.raises(InputError), recorded_run(plan(name="one", system=system)):
        pass
    assert not study.systems.exists()
    with recorded_run(plan(name="two", system=system)):
        pass
    assert study.systems.get().runs.get().name == "two"


def test_only_a_finished_run_of_the_right_kind_is_used(var):
    with recorded_run(plan(name="one")):
        pass
    Run.objects.create(name="two", kind=RunKind.DPO)
    with pytest.raises(InputError, match=r"no such run of kind modpo \(there are: none\)"):
        finished_run("one", RunKind.MODPO)
    with pytest.raises(InputError, match="two is running"):
        finished_run("two", RunKind.DPO)
