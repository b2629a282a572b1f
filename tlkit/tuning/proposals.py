"""What to try next: keras-tuner's oracles behind one function of the trials so far.

`propose` is pure: a new oracle is made for each question and is shown the finished trials. There is
no state file that could be torn, nothing that grows, and a study that was killed goes on with the
very settings it would have had. Two defaults of keras-tuner are changed: its Bayesian oracle draws
at random until it has three trials for each row, which a short search never reaches, and it takes
scores as nearly exact, which validation losses are not. The grid is our own.
"""

import contextlib
import io
import itertools
import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tlkit import files
from tlkit.errors import TlkitError, unknown
from tlkit.tuning.space import Row, Settings, Space

ALGORITHMS = ("random", "bayesian", "hyperband", "grid")
FIRST = 6  # trials at random before the Gaussian process is asked
NOISE = 1e-2  # variance of a score, as a share of that of all scores
ROUNDS = 9  # a full trial in Hyperband's units; its shortest is one of them
FACTOR = 3  # of Hyperband's, one in three goes on
POINTS = 5  # of a range on a grid, besides its default
TRIES = 20  # draws without a new combination that show a space to be exhausted
OBJECTIVE = "loss"


class Proposal(NamedTuple):
    """What to try: the settings, and the share of a trial's epochs it is given."""

    settings: Settings
    share: float = 1.0


class Past(NamedTuple):
    """A finished trial: its settings, its score (less is better) or None, its share of epochs."""

    settings: Settings
    score: float | None
    share: float = 1.0


def require() -> Any:
    """Returns keras-tuner.

    Raises:
        TlkitError: It or something it needs is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import keras_tuner
    except ImportError as error:
        raise TlkitError(
            f"A search needs keras-tuner and tensorboard ({error}): pip install 'tlkit[search]'"
        ) from error
    return keras_tuner


def propose(
    algorithm: str, space: Space, history: Sequence[Past], seed: int = 0
) -> Proposal | None:
    """Returns the next settings to try, or None once there are none left.

    The default settings come first, whatever the algorithm.

    Args:
        algorithm: One of `ALGORITHMS`.
        history: Every trial so far in order, failed ones too: what fails is not tried again.
    """
    if algorithm not in ALGORITHMS:
        raise unknown("search algorithm", algorithm, ALGORITHMS)
    if not history:
        return Proposal(space.default)
    if not space.searched:
        return None
    with quiet():
        if algorithm == "grid":
            return _gridded(space, history)
        if algorithm == "hyperband":
            return _replayed(space, history, seed)
        return _drawn(algorithm, space, history, seed)


def _drawn(algorithm, space, history, seed) -> Proposal | None:
    """Asks a new oracle that knows the history; its seed depends on where in it we are."""
    tuner = require()
    tried = [past.settings for past in history]
    for attempt in range(TRIES):
        draw = 1 + int(files.combined_hash(seed, len(history), attempt)[:7], 16)
        options = {"objective": _objective(tuner), "hyperparameters": hyper(space), "seed": draw}
        if algorithm == "bayesian" and not attempt:
            oracle = tuner.oracles.BayesianOptimizationOracle(
                **options, max_trials=None, num_initial_points=FIRST, alpha=NOISE
            )
            _show(oracle, space, history)
        else:
            oracle = tuner.oracles.RandomSearchOracle(**options, max_trials=None)
        values = oracle.populate_space(str(len(history)))["values"]
        drawn = settings(space, values or {})
        if drawn not in tried:
            return Proposal(drawn)
    return None


def _show(oracle, space, history) -> None:
    """Gives an oracle the finished trials; one that failed counts as bad as the worst."""
    trial = require().engine.trial
    known = [past.score for past in history if past.score is not None]
    for number, past in enumerate(history):
        entry = trial.Trial(hyper(space, past.settings), str(number), "COMPLETED")
        entry.score = past.score if past.score is not None else max(known, default=1.0)
        oracle.trials[str(number)] = entry


def _replayed(space, history, seed) -> Proposal | None:
    """Puts the history to Hyperband, which keeps count of its brackets, then asks on."""
    tuner = require()
    oracle = tuner.oracles.HyperbandOracle(
        objective=_objective(tuner), hyperparameters=hyper(space), seed=seed + 1,
        max_epochs=ROUNDS, factor=FACTOR, hyperband_iterations=100,
        max_consecutive_failed_trials=10**9,
    )  # fmt: skip
    oracle.verbose = 0
    with tempfile.TemporaryDirectory() as folder:  # it must have one; nothing in it is read
        tuner.engine.base_tuner.BaseTuner(oracle, directory=folder, project_name="replay")
        for past in history[1:]:  # the first are the default settings, which it did not ask for
            _finish(oracle, oracle.create_trial("tlkit"), past.score)
        trial = oracle.create_trial("tlkit")
        if trial.status != "RUNNING":
            return None
        values = trial.hyperparameters.values
        return Proposal(settings(space, values), values["tuner/epochs"] / ROUNDS)


def _gridded(space: Space, history: Sequence[Past]) -> Proposal | None:
    """Returns the next combination, the last row changing fastest.

    Not keras-tuner's grid oracle: it takes random points of a range, others in every process, and
    with conditional rows it repeats some combinations and leaves out others.
    """
    tried = [past.settings for past in history]
    for values in itertools.product(*map(_points, space.rows)):
        names = (row.name for row in space.rows)
        found = space.only_active(dict(zip(names, values, strict=True)))
        if found not in tried:
            return Proposal(found)
    return None


def _points(row: Row) -> list[Any]:
    """Returns the values of a row on a grid, its default first."""
    if row.values:
        points = list(row.values)
    else:
        ends = (math.log(row.low), math.log(row.high)) if row.log else (row.low, row.high)
        steps = [ends[0] + i / (POINTS - 1) * (ends[1] - ends[0]) for i in range(POINTS)]
        points = [_short(row, math.exp(step) if row.log else step) for step in steps]
    return [row.default, *(point for point in points if point != row.default)]


def _finish(oracle, trial, score: float | None) -> None:
    if score is None:
        trial.status = "FAILED"
    else:
        oracle.update_trial(trial.trial_id, {OBJECTIVE: score})
        trial.status = "COMPLETED"
    oracle.end_trial(trial)


def _objective(tuner):
    return tuner.Objective(OBJECTIVE, "min")


def hyper(space: Space, chosen: Settings | None = None):
    """Returns the space in keras-tuner's terms, with values if given."""
    found = require().HyperParameters()
    rows = {row.name: row for row in space.rows}
    for row in space.rows:
        if row.when is None:
            _declare(found, row)
            continue
        name, values = row.when
        with found.conditional_scope(name, [key(rows[name], value) for value in values]):
            _declare(found, row)
    found.values = keys(space, chosen or {})
    return found


def _declare(found, row: Row) -> None:
    if row.pinned:
        found.Fixed(row.name, key(row, row.values[0]))
    elif row.values:
        found.Choice(row.name, [key(row, v) for v in row.values], default=key(row, row.default))
    elif row.whole:
        found.Int(row.name, row.low, row.high, default=int(row.default))
    else:
        found.Float(
            row.name, row.low, row.high, default=row.default,
            sampling="log" if row.log else "linear",
        )  # fmt: skip


def keys(space: Space, chosen: Settings) -> Settings:
    """Returns how settings travel through keras-tuner."""
    return {row.name: key(row, chosen[row.name]) for row in space.rows if row.name in chosen}


def key(row: Row, value: Any) -> Any:
    """Returns how a value of a row travels: a choice is of one type there, a number or a text."""
    kinds = {type(known) for known in row.values}
    if not kinds or kinds in ({int}, {float}, {str}):
        return value
    return float(value) if kinds == {int, float} else repr(value)


def settings(space: Space, values: dict[str, Any]) -> Settings:
    """Returns our own values for what keras-tuner chose."""
    chosen = {}
    for row in space.rows:
        if row.name not in values:
            continue
        by_key = {key(row, value): value for value in row.values}
        chosen[row.name] = by_key[values[row.name]] if row.values else _short(row, values[row.name])
    return space.only_active(chosen)


def _short(row: Row, value: Any) -> float:
    """Four digits are all a person wants to read in a recipe, and far more than matters."""
    return int(value) if row.whole else min(max(float(f"{value:.4g}"), row.low), row.high)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps keras-tuner's prints and its use of names that Python has deprecated to itself.

    One thread for its algebra: the matrices are tiny, and many threads only wait for each other.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        threadpool_limits(1),
    ):
        warnings.simplefilter("ignore")
        yield


SILENCE = 120.0  # seconds without a word after which a worker counts as dead
