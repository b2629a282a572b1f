"""A search over settings: trials on a proxy, the best again on all the data, one winner.

Nested as in NASNet (Zoph et al. 2018): many short trials on part of the images say where to look,
and only the best few are trained in full.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

from tlkit.advice.advise import quick_advice
from tlkit.errors import TlkitError, unknown
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.progress import say
from tlkit.training.run import Run
from tlkit.tuning import conclusion, distributed, finalists, page, proposals
from tlkit.tuning.finalists import Finalist
from tlkit.tuning.searcher import Hunt, Options, Watch
from tlkit.tuning.space import Settings
from tlkit.tuning.study import Study, Trial


@dataclasses.dataclass
class SearchResult:
    """What a search found.

    Attributes:
        folder: The study: trials, `report.html`, `winner.py`, and the best model in `best/`.
        trials: Every trial, in order.
        finalists: What was trained again, best first; empty if the time did not suffice.
        comparisons: The winner against the default and every other finalist.
        settings: The winning settings.
        verdict: The winner against the default in one sentence.
        test: The metrics of the winner on the test images, or None without any.
    """

    folder: Path
    trials: list[Trial]
    finalists: list[Finalist] = dataclasses.field(default_factory=list)
    comparisons: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    settings: Settings = dataclasses.field(default_factory=dict)
    verdict: str = ""
    test: dict[str, Any] | None = None

    @property
    def run(self) -> Run:
        """The best model's run: evaluate, report, export and predict as with any other."""
        return Run.open(self.folder / "best")

    @property
    def recipe(self) -> Path:
        """The winning settings as a Python file that trains with them."""
        return self.folder / "winner.py"


def search(
    model: Classifier | str,
    data: Data,
    watch: Watch | None = None,
    worker: Any = None,
    **options: Any,
) -> SearchResult:
    """Searches for better settings than the default, which are always the first trial.

    Ctrl-C, a crash or `kill -9` loses the trial that runs and nothing else: the same call goes on
    where it stopped. Changed images, space, weights or code begin a new study.

    Args:
        model: The classifier to train, which is left as it is, or the name of a backbone.
        data: What `load_images` returned. Its test split is not touched before the end.
        watch: Called with a dict for every event; see `commands/search.py` for a live table.
        worker: What runs the trials, as `workers.Worker` does; by default a process of its own.
        options: Fields of `Options`. Without `plan`, the quick advice of `fine_tune` makes it.

    Raises:
        TlkitError: keras-tuner is missing, the data cannot be found again by another process, an
            option or the space is wrong, or every trial failed.
    """
    known = {field.name for field in dataclasses.fields(Options)}
    if strange := options.keys() - known:
        raise unknown("option of search", min(strange), known)
    proposals.require()
    chosen = Options(**options)
    model = Classifier(model, data.class_names) if isinstance(model, str) else model
    if chosen.plan is None:  # to be beaten is what training without a search would do
        chosen = dataclasses.replace(chosen, plan=quick_advice(model, data, chosen.store).phases)
    hunt = Hunt(model, data, chosen, watch or _print, worker)
    part = distributed.role()
    try:
        if part == "worker":
            distributed.work(hunt)
            return SearchResult(hunt.study.folder, list(hunt.study.trials.values()))
        distributed.lead(hunt) if part == "chief" else hunt.explore()
        hunt.confirm()
    except KeyboardInterrupt:
        say(f"Interrupted. {len(hunt.study.finished)} trials are kept in {hunt.study.folder}.")
        say("The same command with the same --out goes on from there.")
        raise
    finally:
        hunt.worker.stop()
    return conclude(hunt)


def conclude(hunt: Hunt) -> SearchResult:
    """Names the winner, unseals the test images for it alone and writes everything down."""
    found = judged(hunt)
    _write(hunt, found)
    return found


def judged(hunt: Hunt) -> SearchResult:
    """Ranks the finalists by their runs; nothing here looks at test images.

    Raises:
        TlkitError: There is no finalist whose seeds all came to their end.
    """
    found = SearchResult(hunt.study.folder, list(hunt.study.trials.values()))
    stable = {k: v for k, v in hunt.confirmed.items() if k not in hunt.unstable}
    if not stable:
        raise TlkitError(_nothing(hunt.study))
    labels = hunt.data.val.labels
    for number, folders in stable.items():
        settings = hunt.study.trials[number].settings
        found.finalists.append(finalists.gather(number, settings, folders, labels))
    found.finalists.sort(key=lambda finalist: float(finalist.losses.mean()))
    _judge(found)
    return found


def _write(hunt: Hunt, found: SearchResult) -> None:
    folder, best = hunt.study.folder, found.finalists[0]
    trained = hunt.trained(best.settings, hunt.study.trials[best.number].batch_size)
    origin = conclusion.origin(hunt.model, hunt.data, hunt.start, hunt.options.origin)
    origin["seed"] = int(best.folders[0].name.rpartition("-")[2])  # of the run in best/
    conclusion.write_recipe(folder, trained, origin, {"phases": found.verdict})
    found.test = conclusion.crown(folder, best, hunt.data)
    conclusion.write_result(folder, found, time.time() - hunt.began)
    page.write(folder, found, hunt.space)


def _judge(found: SearchResult) -> None:
    best, *others = found.finalists
    found.settings = best.settings
    found.comparisons = [finalists.compare(best, other) for other in others]
    against = [c for c in found.comparisons if c["second"] == 0]
    if against:
        found.verdict = against[0]["verdict"]
    elif best.number == 0:
        beaten = f": {found.comparisons[0]['verdict']}" if others else ""
        found.verdict = f"the default settings are the best that was found{beaten}"
    else:
        found.verdict = f"trial {best.number} is the best of what could be confirmed"


def _nothing(study: Study) -> str:
    """Returns why there is no winner."""
    messages = [trial.message for trial in study.trials.values() if trial.message]
    if messages and not study.ranked:
        return f"No trial came to its end. The last said: {messages[-1]}. See {study.folder}/work."
    return (
        f"The time was up before one finalist was trained; {len(study.trials)} trials are kept in "
        f"{study.folder}. Give the same command more minutes, and it goes on from there."
    )


def _print(event: dict[str, Any]) -> None:
    """The plain watcher: one line for each trial."""
    if event["event"] == "trial":
        trial = event["result"]
        score = f"loss {trial.loss:.4f} accuracy {trial.accuracy:.3f}" if trial.loss else ""
        say(f"trial {trial.number:3d} {trial.status:<6} {score} {trial.seconds:6.1f} s")
    elif event["event"] == "finalist":
        say(f"trial {event['trial']:3d} again on all images, seed {event['seed']}")
