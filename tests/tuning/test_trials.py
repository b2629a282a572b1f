"""A trial may fail in every way there is, and only that trial is lost."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import fake_trials
from tests.searches import Clock
from tlkit import memory
from tlkit.tuning import trial
from tlkit.tuning.worker import Worker


def job(fault, **fields):
    phases = [{"batch_size": 8}, {"batch_size": 4}]
    return {"fault": fault, "deadline": None, "phases": phases, **fields}


def started(folder, task=fake_trials.fault, **options):
    return Worker(folder, **{"memory": 2000, "task": task} | options)


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with started(tmp_path_factory.mktemp("work"), per_process=100) as found:
        yield found


def test_one_warm_process_does_many_trials(worker):
    pids = {worker.run(job("none"))["pid"] for _ in range(5)}
    assert pids == {worker.pid} and pids != {os.getpid()}


def test_a_job_arrives_as_it_was_given_with_the_limit_of_memory(tmp_path):
    told = job("none", settings={"a": [1, None]})
    with started(tmp_path, fake_trials.echo, memory=1500) as one:
        result = one.run(told)
    given = result["given"]
    assert given.pop("memory") == 1500 and given.pop("task") == "tests.fake_trials:echo"
    assert given == told == job("none", settings={"a": [1, None]})
    assert (result["status"], result["message"], result["batch_size"]) == ("done", "", 0)
    assert 5 < result["peak_mb"] < 1500 and 0 < result["seconds"] < 60


def test_by_default_a_worker_trains_and_has_a_share_of_the_free_memory(tmp_path):
    one = Worker(tmp_path)
    assert one.task == "tlkit.tuning.trial:train"
    assert one.memory == pytest.approx(0.8 * memory.free_mb(), rel=0.2)
    assert one.pid is None and (one.per_process, one.grace) == (10, 5.0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("crash", "RuntimeError: a planted crash"), ("exit", "code 3"), ("kill", "signal 9")],
)
def test_a_lost_trial_is_only_that_trial(worker, fault, words):
    lost = worker.run(job(fault))
    assert lost["status"] == "failed" and words in lost["message"]
    after = worker.run(job("none"))
    assert after["status"] == "done" and after["loss"] == 0.1


def test_a_process_that_died_between_two_trials_is_replaced(tmp_path):
    with started(tmp_path) as one:
        process = one.run(job("none"))["pid"]
        os.kill(process, 9)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        after = one.run(job("none"))
    assert after["status"] == "done" and after["pid"] != process


@pytest.mark.parametrize("fault", ["memory", "device memory"])
def test_out_of_memory_halves_every_batch_and_tries_again(worker, fault):
    seen, told = [], job(fault, above=2)
    result = worker.run(told, seen.append)
    assert (result["status"], result["batch_size"]) == ("done", 2)
    halved = [event["batch_size"] for event in seen if event["event"] == "halved"]
    assert halved == [4, 2]
    assert result["batches"] == [2, 1] and told == job(fault, above=2)


def test_out_of_memory_with_one_image_is_a_failed_trial(worker):
    result = worker.run(job("memory"))
    assert result["status"] == "failed" and "one image" in result["message"]


def test_a_process_that_grows_past_its_limit_is_ended(tmp_path):
    with started(tmp_path, memory=150) as small:
        result = small.run(job("grow", above=4))
        assert (result["status"], result["batch_size"]) == ("done", 4)
        assert small.started == 2


def test_a_process_that_holds_much_is_replaced_before_the_next_trial(tmp_path):
    with started(tmp_path, memory=400) as one:
        pids = [one.run(job(fault))["pid"] for fault in ("none", "hold", "none")]
    assert pids[0] == pids[1] != pids[2]


# The deadline


def test_a_trial_that_does_not_stop_is_killed_after_its_grace(tmp_path):
    clock = Ticking(100.0, 0.5)
    with started(tmp_path, clock=clock, grace=2.0) as one:
        one.run(job("none"))
        process, clock.now = one.pid, 100.0
        result = one.run(job("hang", deadline=100.0))
        assert (result["status"], result["message"]) == ("cut", trial.TIME_UP)
        assert clock.now == 102.5  # not while two seconds of grace last
        assert not _alive(process) and one.run(job("none"))["pid"] != process


def test_a_slow_epoch_may_end_half_as_late_again(tmp_path):
    clock = Ticking(0.0, 0.0)

    def watch(event):
        clock.now, clock.step = 114.0, 0.5

    with started(tmp_path, fake_trials.slow_epoch, clock=clock, grace=2.0) as one:
        result = one.run(job("none", deadline=100.0), watch)
    assert result["status"] == "cut" and clock.now == 115.5  # 1.5 x 10 s after the deadline


class Ticking(Clock):
    """A clock that moves on whenever it is looked at."""

    def __init__(self, now, step):
        super().__init__(now)
        self.step = step

    def __call__(self):
        self.now += self.step
        return self.now


# Many trials, and the end


def test_a_process_is_replaced_after_its_share_of_trials(tmp_path):
    with started(tmp_path, per_process=2) as worker:
        pids = [worker.run(job("none"))["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_worker_that_is_stopped_leaves_no_process(tmp_path):
    with started(tmp_path) as worker:
        process = worker.run(job("none"))["pid"]
        assert _alive(process)
    assert not _alive(process) and worker.pid is None


def test_events_reach_the_watcher_in_order_and_prints_do_not(tmp_path):
    seen = []
    with started(tmp_path, fake_trials.talkative) as worker:
        result = worker.run(job("none"), seen.append)
    assert seen == [{"event": "epoch", "epoch": number} for number in (1, 2, 3)]
    assert result["status"] == "done" and result["loss"] == 0.25
    assert "something a library prints" in (tmp_path / "worker.log").read_text()


def test_what_a_trial_said_is_not_kept(worker):
    """The results of many trials must not pile up in the search; their size is seen here."""
    import tracemalloc

    told = job("none", ballast=["x" * 1000] * 100)
    worker.run(told)
    tracemalloc.start()
    try:
        for _ in range(20):
            worker.run(told)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000  # 20 jobs are two million characters


ORPHAN = """
import sys
from tests import fake_trials
from tlkit.tuning.worker import Worker
worker = Worker(sys.argv[1], memory=2000, task=fake_trials.fault)
job = {"phases": [], "deadline": None}
worker.run({**job, "fault": "none"})
print(worker.pid, flush=True)
worker.run({**job, "fault": "hang after a word"}, lambda event: print("at it", flush=True))
"""


def test_a_trial_ends_when_its_search_was_killed(tmp_path):
    search = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    pid = int(search.stdout.readline())
    assert search.stdout.readline() == "at it\n"
    search.kill()
    search.communicate()
    _wait_for_the_end(pid)


def _wait_for_the_end(pid):
    import time

    for _ in range(600):  # it looks every tenth of a second; half a minute is for a busy machine
        if not _alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, 9)
    raise AssertionError(f"process {pid} outlived its search")


def _alive(pid) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# The process itself


def test_half_a_line_of_a_dying_process_is_no_event(tmp_path):
    seen = []
    with started(tmp_path, fake_trials.half_a_line) as worker:
        lost = worker.run(job("none"), seen.append)
    assert lost["status"] == "failed" and "code 3" in lost["message"] and seen == []


def test_a_worker_finds_tlkit_from_any_folder_and_is_not_struck_by_ctrl_c(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with started(tmp_path / "work") as worker:
        assert worker.run(job("none"))["status"] == "done"
        assert os.getpgid(worker.pid) != os.getpgid(0)  # Ctrl-C goes to the search's group alone


def test_memory_is_told_in_millions_of_bytes():
    before = memory.held_mb()
    ballast = np.ones(12_500_000)
    held = memory.held_mb()
    assert held - before == pytest.approx(100, abs=10) and held <= memory.peak_mb() + 1
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    assert memory.peak_mb() == pytest.approx(most, rel=0.05)
    assert len(ballast) and 100 < memory.free_mb() < 1e7


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc")
def test_free_memory_is_no_more_than_the_machine_has():
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal"))
    assert memory.free_mb() < total * 1024 / 1e6
