"""Stands in for training in the tests of workers: quick, and able to fail in every way."""

import os
import signal
import time

import numpy as np


def quadratic(job, report, folder):
    """Scores settings by a formula, so that a search over it takes no time."""
    rate = job["phases"][-1]["rate"]
    report(event="epoch", epoch=1, val_loss=1.0, val_accuracy=0.5, seconds=0.0, phase="head")
    loss = 0.1 + (np.log10(rate) + 3.0) ** 2
    return {"status": "done", "message": "", "loss": float(loss), "accuracy": 0.5, "epochs": 1}


def fault(job, report, folder):
    """Does what the job asks for under `fault`; with `above`, only with larger batches."""
    if "above" in job and job["phases"][0]["batch_size"] <= job["above"]:
        return {"status": "done", "loss": 0.5, "pid": os.getpid()}
    return FAULTS[job["fault"]](job)


def _exhausted(job):
    raise type("ResourceExhaustedError", (Exception,), {})("no room on the device")


def _grow(job):
    held = []
    for _ in range(200):
        held.append(np.ones(2_500_000))  # 20 MB, touched
        time.sleep(0.01)


def _raise(error):
    def fail(job):
        raise error

    return fail


FAULTS = {
    "none": lambda job: {"status": "done", "loss": 0.1, "pid": os.getpid()},
    "crash": _raise(RuntimeError("a planted crash")),
    "memory": _raise(MemoryError("planted")),
    "device memory": _exhausted,
    "grow": _grow,
    "kill": lambda job: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda job: os._exit(3),
    "hang": lambda job: time.sleep(600),
}


def slow(job, report, folder):
    """Takes half a second."""
    time.sleep(0.5)
    return quadratic(job, report, folder)


def slow_quadratic(job, report, folder):
    """Takes a second, in which a process can be killed."""
    time.sleep(1.0)
    return quadratic(job, report, folder)


def broken(job, report, folder):
    """Never works."""
    raise RuntimeError("a planted crash")
