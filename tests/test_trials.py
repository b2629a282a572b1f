"""A trial may fail in every way there is, and only that trial is lost."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tlkit import trials, workers
from tlkit.workers import Worker

FAULT = {"task": "tests.fake_trials:fault", "deadline": None}


def job(fault, **fields):
    return {**FAULT, "fault": fault, "phases": [{"batch_size": 8}, {"batch_size": 4}], **fields}


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with Worker(tmp_path_factory.mktemp("work"), memory=2000, per_process=100) as found:
        yield found


def test_one_warm_process_does_many_trials(worker):
    pids = {worker.run(job("none"))["pid"] for _ in range(5)}
    assert len(pids) == 1 and pids != {os.getpid()}


@pytest.mark.parametrize(
    ("fault", "words"),
    [("crash", "a planted crash"), ("exit", "code 3"), ("kill", "signal 9")],
)
def test_a_lost_trial_is_only_that_trial(worker, fault, words):
    lost = worker.run(job(fault))
    assert lost["status"] == "failed" and words in lost["message"]
    after = worker.run(job("none"))
    assert after["status"] == "done" and after["loss"] == 0.1


@pytest.mark.parametrize("fault", ["memory", "device memory"])
def test_out_of_memory_halves_every_batch_and_tries_again(worker, fault):
    seen = []
    result = worker.run(job(fault, above=2), seen.append)
    assert (result["status"], result["batch_size"]) == ("done", 2)
    halved = [event["batch_size"] for event in seen if event["event"] == "halved"]
    assert halved == [4, 2]


def test_out_of_memory_with_one_image_is_a_failed_trial(worker):
    result = worker.run(job("memory"))
    assert result["status"] == "failed" and "one image" in result["message"]


def test_a_process_that_grows_past_its_limit_is_ended(tmp_path):
    with Worker(tmp_path, memory=400) as small:
        result = small.run(job("grow", above=4))
        assert (result["status"], result["batch_size"]) == ("done", 4)
        assert small.started == 2


def test_a_trial_that_does_not_stop_is_killed_after_the_deadline(worker, monkeypatch):
    monkeypatch.setattr(workers, "GRACE", 0.3)
    began = time.monotonic()
    result = worker.run(job("hang", deadline=time.time() + 0.2))
    assert result["status"] == "cut" and time.monotonic() - began < 5


def test_a_process_is_replaced_after_its_share_of_trials(tmp_path):
    with Worker(tmp_path, memory=2000, per_process=2) as worker:
        pids = [worker.run(job("none"))["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_the_parent_does_not_grow_over_fifty_trials(worker):
    worker.run(job("none"))
    before = trials.held_mb()
    for _ in range(50):
        worker.run(job("none", ballast=["x" * 1000] * 100))
    assert trials.held_mb() - before < 10


ORPHAN = """
import sys
from tlkit.workers import Worker
worker = Worker(sys.argv[1], memory=2000)
worker.run({"task": "tests.fake_trials:fault", "fault": "none"})
print(worker.pid, flush=True)
worker.run({"task": "tests.fake_trials:fault", "fault": "hang"})
"""


def test_a_trial_ends_when_its_search_was_killed(tmp_path):
    search = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    pid = int(search.stdout.readline())
    time.sleep(0.3)
    search.kill()
    search.communicate()
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} outlived its search")


def _alive(pid) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_subset_keeps_the_shares_of_the_classes():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    chosen = trials.stratified(labels, 90)
    assert len(np.unique(chosen)) == len(chosen)
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 1]
    np.testing.assert_array_equal(chosen, trials.stratified(labels, 90))
    assert len(trials.stratified(labels, 10_000)) == 903
