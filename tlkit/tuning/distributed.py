"""One search on many machines: keras-tuner's chief and workers, made to survive lost workers.

keras-tuner's chief waits for ever for a worker that was killed in mid-trial. Here every worker
asks after its own trial while it trains, which keras-tuner's protocol already allows; a trial that
nobody asked after for `SILENCE` seconds is given out again. The port has no lock: use loopback or
a private network. See docs/search.md.
"""

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tlkit.errors import TlkitError
from tlkit.progress import say
from tlkit.tuning import proposals
from tlkit.tuning.proposals import OBJECTIVE, SILENCE, Proposal

if TYPE_CHECKING:
    from tlkit.tuning.searcher import Searcher

ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
WAIT = 60.0  # seconds a worker waits for the chief's port


def role() -> str | None:
    """Returns "chief", "worker", or None where the environment asks for neither.

    Raises:
        TlkitError: Only some of the variables are set.
    """
    found = [name for name in ENVIRONMENT if os.environ.get(name)]
    if not found:
        return None
    if len(found) < len(ENVIRONMENT):
        lacking = sorted(set(ENVIRONMENT) - set(found))
        raise TlkitError(f"{found[0]} is set, {' and '.join(lacking)} must be too.")
    return "chief" if "chief" in os.environ[ENVIRONMENT[0]] else "worker"


def lead(searcher: "Searcher", silence: float = SILENCE) -> None:
    """Hands out trials until time, number or space is at its end and no trial is out any more.

    Args:
        silence: Seconds without a word after which a worker counts as dead.
    """
    if searcher.options.algorithm == "hyperband":
        raise TlkitError(
            "Hyperband needs its trials in order and cannot be scaled out: take bayesian, random "
            "or grid."
        )
    proposals.require()
    from tlkit.tuning.chief import PatientOracle

    oracle = PatientOracle(searcher, silence)
    with tempfile.TemporaryDirectory() as folder, proposals.quiet():
        tuner = proposals.require().engine.base_tuner.BaseTuner(
            oracle, directory=folder, project_name="chief"
        )
        threading.Thread(target=oracle.look_around, daemon=True).start()
        try:
            tuner.search(verbose=0)
        except KeyboardInterrupt:
            if not oracle.abandoned:
                raise
            say("No worker has been heard of for long: going on with the trials there are.")
        finally:
            oracle.over.set()
    searcher.study.refresh()


def work(searcher: "Searcher", silence: float = SILENCE) -> None:
    """Runs the trials the chief hands out until it has no more."""
    tuner_module = proposals.require()
    placeholder = tuner_module.oracles.RandomSearchOracle(
        objective=tuner_module.Objective(OBJECTIVE, "min"),
        hyperparameters=proposals.hyper(searcher.space),
    )
    with tempfile.TemporaryDirectory() as folder:
        tuner = tuner_module.engine.base_tuner.BaseTuner(
            placeholder, directory=folder, project_name="worker"
        )
        while True:
            reach_chief()
            trial = tuner.oracle.create_trial(tuner.tuner_id)
            if trial.status == "STOPPED":
                return
            if trial.status == "IDLE":
                time.sleep(1.0)
                continue
            _one(searcher, tuner.oracle, trial, silence)


def _one(searcher: "Searcher", client, trial, silence: float) -> None:
    settings = proposals.settings(searcher.space, trial.hyperparameters.values)
    with heartbeat(client, trial.trial_id, silence / 6):
        done = searcher.attempt(int(trial.trial_id), Proposal(settings))
    searcher.study.add(done)
    score = searcher.score(done)
    if score is not None:
        client.update_trial(trial.trial_id, {OBJECTIVE: score})
    trial.status = "FAILED" if score is None else "COMPLETED"
    client.end_trial(trial)


@contextlib.contextmanager
def heartbeat(client, trial_id: str, pause: float) -> Iterator[None]:
    """Asks after the trial all the while: the chief hears that somebody is at it."""
    done = threading.Event()

    def beat():
        while not done.wait(pause):
            with contextlib.suppress(Exception):  # the next beat, or the result, will tell
                client.get_trial(trial_id)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def reach_chief(
    wait: float = WAIT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once the chief's port answers; keras-tuner itself would wait an hour for it.

    Raises:
        TlkitError: It does not within `wait` seconds.
    """
    place = os.environ[ENVIRONMENT[1]], int(os.environ[ENVIRONMENT[2]])
    end = clock() + wait
    while True:
        try:
            socket.create_connection(place, timeout=5).close()
            return
        except OSError as error:
            if clock() > end:
                raise TlkitError(
                    f"No chief answers at {place[0]}:{place[1]} ({error}). Finished trials are "
                    "kept; start the chief again, then the workers."
                ) from error
            sleep(0.5)
