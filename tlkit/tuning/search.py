"""A search over settings: trials on a proxy, the best again on all the data, one winner.

Nested as in NASNet (Zoph et al. 2018): many short trials on part of the images say where to look,
and only the best few are trained in full.
"""

import dataclasses
from typing import Any

from tlkit.errors import unknown
from tlkit.images.dataset import Data
from tlkit.models.classifier import Classifier
from tlkit.progress import say
from tlkit.tuning import distributed, proposals
from tlkit.tuning.conclusion import conclude
from tlkit.tuning.result import SearchResult
from tlkit.tuning.searcher import Options, Searcher, Watch
from tlkit.workflows.fine_tuning import phases_for


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
        watch: Called with a dict for every event; see `tlkit/cli/search.py` for a live table.
        worker: What runs the trials, as `Worker` does; by default a process of its own.
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
    # To be beaten is what training without a search would do.
    phases = phases_for(model, data, chosen.plan, chosen.store)
    chosen = dataclasses.replace(chosen, plan=phases)
    searcher = Searcher(model, data, chosen, watch or _print, worker)
    part = distributed.role()
    try:
        if part == "worker":
            distributed.work(searcher)
            return SearchResult(searcher.study.folder, list(searcher.study.trials.values()))
        distributed.lead(searcher) if part == "chief" else searcher.explore()
        searcher.confirm()
    except KeyboardInterrupt:
        study = searcher.study
        say(f"Interrupted. {len(study.finished)} trials are kept in {study.folder}.")
        say("The same command with the same --out goes on from there.")
        raise
    finally:
        searcher.worker.stop()
    return conclude(searcher)


def _print(event: dict[str, Any]) -> None:
    """The plain watcher: one line for each trial."""
    if event["event"] == "trial":
        trial = event["result"]
        score = f"loss {trial.loss:.4f} accuracy {trial.accuracy:.3f}" if trial.loss else ""
        say(f"trial {trial.number:3d} {trial.status:<6} {score} {trial.seconds:6.1f} s")
    elif event["event"] == "finalist":
        say(f"trial {event['trial']:3d} again on all images, seed {event['seed']}")
