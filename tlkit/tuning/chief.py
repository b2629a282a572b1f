"""The chief of a search on many machines. Imports keras-tuner: only `scale_out.lead` needs it."""

import _thread
import threading
import time
from collections.abc import Callable
from typing import Any

import keras_tuner

from tlkit.progress import say
from tlkit.tuning import proposals
from tlkit.tuning.proposals import OBJECTIVE, Past, Proposal
from tlkit.tuning.searcher import Searcher
from tlkit.tuning.study import Trial

ABANDONED = 10  # silences without any worker: the chief goes on alone
RETRIES = 2  # times a lost trial is given out again


class PatientOracle(keras_tuner.Oracle):
    """An oracle that takes trials back from workers it has not heard of for a while.

    `populate_space`, `create_trial`, `get_trial` and `end_trial` are what keras-tuner's servicer
    calls; `ongoing_trials` and `tuner_ids` are what its loop looks at. A test guards all of them.

    Args:
        searcher: The search whose trials are handed out.
        silence: Seconds without a word after which a worker counts as dead.
        clock: Tells the time in seconds from any moment on.
    """

    def __init__(
        self,
        searcher: Searcher,
        silence: float = proposals.SILENCE,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(
            objective=keras_tuner.Objective(OBJECTIVE, "min"),
            hyperparameters=proposals.hyper(searcher.space),
            max_retries_per_trial=RETRIES,
            max_consecutive_failed_trials=10**9,
        )
        self.searcher, self.silence, self.clock = searcher, silence, clock
        self.began = clock()
        self.heard: dict[str, float] = {}  # trial or worker -> when it was last heard of
        self.over = threading.Event()
        self.abandoned = False
        self.verbose = 0
        _remember(searcher, self)

    def populate_space(self, trial_id):
        tried = _next(self.searcher, self)
        if tried is not None:
            values = proposals.keys(self.searcher.space, tried.settings)
            return {"status": "RUNNING", "values": values}
        return {"status": "IDLE" if self.ongoing_trials else "STOPPED"}

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        self.expire()
        trial = super().create_trial(tuner_id)
        self.heard[tuner_id] = self.heard[trial.trial_id] = self.clock()
        return trial

    def get_trial(self, trial_id):
        self.heard[trial_id] = self.clock()
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def expire(self):
        """Takes trials back from workers that have gone silent, and forgets these workers."""
        now = self.clock()
        for worker, trial in list(self.ongoing_trials.items()):
            if now - self.heard.get(trial.trial_id, now) > self.silence:
                say(f"{worker} has gone silent: trial {trial.trial_id} is given out again.")
                trial.status = "INVALID"
                self.end_trial(trial)
                _note_lost(self.searcher, trial)
                self.tuner_ids.discard(worker)
        for worker in list(self.tuner_ids - self.ongoing_trials.keys()):
            if now - self.heard.get(worker, now) > self.silence:
                self.tuner_ids.discard(worker)

    def alone(self) -> bool:
        """Says whether no worker has been heard of for so long that none will come."""
        return self.clock() - max([self.began, *self.heard.values()]) > ABANDONED * self.silence

    def look_around(self):
        """Looks for silent workers all the time: perhaps none is left that would ask."""
        while not self.over.wait(min(self.silence / 4, 5.0)):
            self.expire()
            if self.alone():
                self.abandoned = True
                _thread.interrupt_main()
                return


def _next(searcher: Searcher, oracle) -> Proposal | None:
    """Returns what to try next, as if the trials that are out had failed: none is tried twice."""
    searcher.study.refresh()
    options = searcher.options
    enough = options.trials is not None and len(oracle.trials) >= options.trials
    if enough or searcher.left_to_search() <= 0:
        return None
    past = []
    for number in sorted(map(int, oracle.trials)):
        settings = proposals.settings(
            searcher.space, oracle.trials[f"{number:04d}"].hyperparameters.values
        )
        known = searcher.study.trials.get(number)
        mine = known is not None and known.settings == settings  # not one of an earlier chief
        past.append(Past(settings, searcher.score(known) if known and mine else None))
    return proposals.propose(options.algorithm, searcher.space, past, options.seed)


def _remember(searcher: Searcher, oracle) -> None:
    """Gives a chief that was started again the trials of its first life."""
    trial = keras_tuner.engine.trial
    for done in searcher.study.finished:
        name = f"{done.number:04d}"
        oracle.trials[name] = trial.Trial(
            proposals.hyper(searcher.space, done.settings), name, "COMPLETED"
        )
        oracle.trials[name].score = done.score if done.score is not None else 1e9


def _note_lost(searcher: Searcher, trial: Any) -> None:
    """Writes down a trial that killed worker after worker, so that it is not tried for ever."""
    if trial.status == "FAILED":
        settings = proposals.settings(searcher.space, trial.hyperparameters.values)
        lost = Trial(int(trial.trial_id), settings, status="failed", message="every worker died")
        searcher.study.add(lost)
