"""Does the planner's estimate come true? Small jobs, each estimated and then run.

    python -m benchmarks.planner_accuracy                 all jobs
    python -m benchmarks.planner_accuracy --only tiny     the smallest

Every job is a fresh process with an empty cache: it estimates, trains all the epochs, and notes
wall seconds and peak memory. Weights are random, which changes no time. Run it on a quiet machine:
what else runs between estimate and training is counted as an error of the planner.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import images
from benchmarks.worker import peak_mb
from benchmarks.works import Work
from tlkit import files, progress

ROOT = Path(__file__).parent.parent
TARGET = 0.30  # largest error that counts as kept
# No early stopping, so that what was estimated is what is run.
JOBS = (
    Work("tiny", "head, 100 images", 100, 3, 0, size=96, test=10),
    Work("head-96", "head only", 500, 10, 0, size=96, test=10),
    Work("head-160", "head only", 1000, 20, 0, test=10),
    Work("tail-96", "head, then fine-tuning", 300, 5, 5, size=96, test=10),
    Work("tail-160", "head, then fine-tuning", 500, 5, 5, test=10),
    Work("W1", "head, then fine-tuning", 1000, 5, 5, test=10),
)
# What is compared: heading -> key. An epoch's start to the next one's is its time, checkpoint
# included; whatever is not that (decoding, features, compiling, tracing, saving) is start-up.
COLUMNS = {
    "whole run": "seconds",
    "start-up": "start",
    "epochs": "epochs",
    "memory": "memory_mb",
}


def main() -> None:
    """Runs the jobs in rounds, prints the ratios and writes them as JSON."""
    options = _arguments()
    jobs = [job for job in JOBS if job.name in options.only]
    folders = {job.name: images.prepare(options.cache, job) for job in jobs}
    records = []
    for number in range(options.rounds):
        for job in jobs:
            record = _once(job, folders[job.name]) | {"round": number}
            progress.say(f"round {number + 1}, {job.name}: {_line(record)}")
            records.append(record)
    files.write_json(options.out, {"target": TARGET, "records": records})
    print("\n".join(table(records)))
    print(f"Written to {options.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [job.name for job in JOBS]
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, metavar="NAMES")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=files.home() / "benchmarks", metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("planner_accuracy.json"), metavar="FILE")
    options = parser.parse_args()
    if strange := set(options.only) - set(names):
        parser.error(f"no job is called {', '.join(sorted(strange))}; there are {', '.join(names)}")
    return options


def _once(job: Work, folder: Path) -> dict[str, Any]:
    """Runs one job in a process of its own; a failure is a record, too."""
    with tempfile.TemporaryDirectory(prefix="planner-") as scratch:
        environment = os.environ | {
            "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), "TLKIT_HOME": f"{scratch}/home",
        }  # fmt: skip
        result = Path(scratch) / "result.json"
        command = [sys.executable, "-m", "benchmarks.planner_accuracy", "--child"]
        command += [job.name, str(folder / "photos"), scratch, str(result)]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode or not result.exists():
            return {"job": job.name, "failed": done.stderr[-2000:]}
        return {"job": job.name, **json.loads(result.read_text())}


def child(name: str, photos: str, scratch: str, result: str) -> None:
    """Estimates and runs one job in this process, and writes both as JSON."""
    import tlkit
    from tlkit.planning import estimate

    job = next(job for job in JOBS if job.name == name)
    data = tlkit.load_images(photos, test_share=0.0)
    model = tlkit.Classifier(job.backbone, data.class_names, weights=None, size=job.size)
    plan = _plan(job)
    began = time.perf_counter()
    cost = estimate.estimate(model, data, plan)
    planning = time.perf_counter() - began
    planned = peak_mb()
    watch = _watch()
    began = time.perf_counter()
    tlkit.fine_tune(model, data, plan, out=f"{scratch}/run", callbacks=[watch])
    seconds = time.perf_counter() - began
    taken = _epochs(watch.starts, plan)
    steady = {phase.name: each * phase.epochs for phase, each in zip(plan, taken, strict=True)}
    found = {
        "planning": planning,
        "planned_mb": planned,
        "estimated": _estimated(cost),
        "actual": _split(seconds, sum(steady.values())) | {"memory_mb": peak_mb()},
        "epoch_estimated": {phase.name: phase.epoch for phase in cost.phases},
        "epoch_actual": {phase.name: each for phase, each in zip(plan, taken, strict=True)},
    }
    files.write_json(result, found)


def _watch():
    """Returns a callback that notes when each epoch starts, in `starts`."""
    import keras

    starts: list[float] = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: starts.append(time.perf_counter())
    )
    watch.starts = starts
    return watch


def _epochs(starts: Sequence[float], plan) -> list[float]:
    """Returns the median seconds of an epoch of each phase; its first, which traces, left out."""
    found, place = [], 0
    for phase in plan:
        mine = starts[place : place + phase.epochs]
        gaps = [after - before for before, after in itertools.pairwise(mine)]
        found.append(statistics.median(gaps[1:] or gaps))
        place += phase.epochs
    return found


def _split(seconds: float, epochs: float) -> dict[str, float]:
    return {"seconds": seconds, "start": seconds - epochs, "epochs": epochs}


def _plan(job: Work) -> tuple:
    from tlkit.phases.phase import Phase

    head = Phase("head", epochs=job.head_epochs, patience=job.head_epochs)
    if not job.tail_epochs:
        return (head,)
    tail = Phase("fine-tune", job.stage, job.tail_epochs, rate=1e-4, patience=job.tail_epochs)
    return head, tail


def _estimated(cost) -> dict[str, float]:
    epochs = sum(phase.epoch * phase.epochs for phase in cost.phases)
    return _split(cost.seconds, epochs) | {"memory_mb": cost.memory / 1e6}


def ratios(record: dict[str, Any]) -> dict[str, float]:
    """Returns estimated / actual of each column; 1 is right."""
    estimated, actual = record["estimated"], record["actual"]
    return {title: estimated[key] / actual[key] for title, key in COLUMNS.items()}


def _line(record) -> str:
    if "failed" in record:
        return f"FAILED: {record['failed'].strip().splitlines()[-1:]}"
    found = ", ".join(f"{title} {ratio:.2f}" for title, ratio in ratios(record).items())
    return f"estimated / actual: {found}; took {record['actual']['seconds']:.1f} s"


def table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the lines of the table: medians over the rounds of estimated / actual."""
    lines = [f"{'job':<10}" + "".join(f"{title:>19}" for title in COLUMNS)]
    lines[0] += f"{'took':>9}{'planning':>10}"
    good = [record for record in records if "failed" not in record]
    for name in dict.fromkeys(record["job"] for record in good):
        mine = [record for record in good if record["job"] == name]
        found = {t: statistics.median(ratios(r)[t] for r in mine) for t in COLUMNS}
        cells = "".join(f"{_marked(ratio):>19}" for ratio in found.values())
        took = statistics.median(r["actual"]["seconds"] for r in mine)
        share = statistics.median(r["planning"] / r["actual"]["seconds"] for r in mine)
        lines.append(f"{name:<10}{cells}{took:7.1f} s{share:9.0%}")
    lines += [f"{r['job']:<10}failed" for r in records if "failed" in r]
    lines.append(f"Estimated / actual; * is further than {TARGET:.0%} from what happened.")
    return lines


def _marked(ratio: float) -> str:
    return f"{ratio:.2f}{'*' if abs(ratio - 1) > TARGET else ' '}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
