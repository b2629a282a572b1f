"""Stands in for training in the tests of workers: quick, and able to fail in every way."""

import contextlib
import os
import signal
import stat
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
    batches = [phase["batch_size"] for phase in job["phases"]]
    if "above" in job and batches[0] <= job["above"]:
        return {"status": "done", "loss": 0.5, "batches": batches}
    if job["fault"] == "hang after a word":
        report(event="epoch", epoch=1)
        time.sleep(60)
    return FAULTS[job["fault"]](job)


def _exhausted(job):
    raise type("ResourceExhaustedError", (Exception,), {})("no room on the device")


def _grow(job):
    held = []
    for _ in range(60):
        held.append(np.ones(2_500_000))  # 20 MB, touched
        time.sleep(0.01)


def _hold(job):
    """Ends well but keeps 300 MB."""
    KEPT.append(np.ones(37_500_000))
    return _fine(job)


def _fine(job):
    return {"status": "done", "loss": 0.1, "pid": os.getpid()}


def _raise(error):
    def fail(job):
        raise error

    return fail


KEPT = []
FAULTS = {
    "none": _fine,
    "crash": _raise(RuntimeError("a planted crash")),
    "memory": _raise(MemoryError("planted")),
    "device memory": _exhausted,
    "grow": _grow,
    "hold": _hold,
    "kill": lambda job: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda job: os._exit(3),
    "hang": lambda job: time.sleep(60),
}


def echo(job, report, folder):
    """Says what it was given."""
    return {"given": job}


def slow_epoch(job, report, folder):
    """Ends one epoch that took ten seconds by its own account, and hangs in the next."""
    report(event="epoch", epoch=1, seconds=10.0)
    time.sleep(60)


def talkative(job, report, folder):
    """Prints between its events, as libraries do."""
    for epoch in (1, 2, 3):
        print("something a library prints", flush=True)
        report(event="epoch", epoch=epoch)
    return {"loss": 0.25}


def half_a_line(job, report, folder):
    """Dies while it writes an event to the pipe that its search reads."""
    for number in range(3, 50):
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                os.write(number, b'{"event": "epoch", "epo')
    os._exit(3)


def slow_quadratic(job, report, folder):
    """Takes a second, in which a process can be killed."""
    time.sleep(1.0)
    return quadratic(job, report, folder)
