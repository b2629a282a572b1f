"""Does a search pay? The search, random search with the same time, and the default settings.

    python -m benchmarks.search_control --data DIR --test DIR --weights FILE --minutes 15

Both searches get the same wall time, images and space. Their winners and the default are then
trained from seeds that neither search has used, on all training images, and compared on the same
validation images, image by image. What is printed and written as JSON is what came out.
"""

import argparse
import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

from tlkit import files
from tlkit.advice.advise import quick_advice
from tlkit.images.dataset import load_images
from tlkit.tuning import finalists, search
from tlkit.tuning import worker as workers
from tlkit.tuning.finalists import Finalist
from tlkit.tuning.searcher import Options, Searcher
from tlkit.workflows import recipes

FRESH = 1000  # seeds from here on are the control's own


@dataclasses.dataclass(frozen=True)
class Contest:
    """What is compared: settings by name, and the search that can train them."""

    settings: dict[str, dict[str, Any]]
    notes: dict[str, Any]


def main() -> None:
    """Runs the comparison, prints it and writes it."""
    arguments = _arguments()
    data = load_images(arguments.data, test=arguments.test)
    origin = {
        "backbone": arguments.backbone, "size": arguments.size,
        "weights": None if arguments.weights == "none" else arguments.weights,
    }  # fmt: skip
    model = recipes.classifier(origin, data.class_names)
    out, arguments.plan = Path(arguments.out), quick_advice(model, data).phases
    contest = _search(model, data, arguments, out)
    entries = _train(model, data, contest, arguments, out)
    found = _compare(entries) | {"searches": contest.notes, "images": len(data.train)}
    files.write_json(out / "search_control.json", found)
    _print(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="training images")
    parser.add_argument("--test", help="test images; nothing here looks at them")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a file, or none")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--minutes", type=float, default=15.0, help="of each search")
    parser.add_argument("--trials", type=int, help="most trials of each search")
    parser.add_argument("--algorithm", default="bayesian")
    parser.add_argument("--space", help="a space file")
    parser.add_argument("--repeats", type=int, default=3, help="fresh seeds of each winner")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="searches/control")
    return parser.parse_args()


def _search(model, data, arguments, out: Path) -> Contest:
    """Runs both searches, each with the same time and from the same cold start."""
    settings: dict[str, dict[str, Any]] = {}
    notes: dict[str, Any] = {}
    for name, algorithm in (("search", arguments.algorithm), ("random search", "random")):
        began = time.perf_counter()
        found = search.search(
            model, data, minutes=arguments.minutes, trials=arguments.trials, algorithm=algorithm,
            space=arguments.space, plan=arguments.plan, seed=arguments.seed + (name != "search"),
            out=out / name.replace(" ", "_"), repeats=arguments.repeats,
        )  # fmt: skip
        settings[name] = found.settings
        settings.setdefault("default", found.trials[0].settings)
        notes[name] = {
            "algorithm": algorithm, "seconds": round(time.perf_counter() - began, 1),
            "trials": len(found.trials), "settings": found.settings, "verdict": found.verdict,
        }  # fmt: skip
    return Contest(settings, notes)


def _train(model, data, contest: Contest, arguments, out: Path) -> dict[str, Finalist]:
    """Trains each of the settings from fresh seeds; equal settings are trained once."""
    options = Options(
        space=arguments.space, plan=arguments.plan, out=out / "fresh", seed=arguments.seed
    )
    searcher = Searcher(model, data, options, lambda event: None)
    entries: dict[str, Finalist] = {}
    with workers.Worker(out / "fresh" / "work") as worker:
        for number, (name, settings) in enumerate(contest.settings.items()):
            twin = next((e for e in entries.values() if e.settings == settings), None)
            if twin is None:
                folders = [
                    _once(searcher, worker, settings, seed, out / "fresh" / f"{number}-{seed}")
                    for seed in range(FRESH, FRESH + arguments.repeats)
                ]
                kept = [folder for folder in folders if folder is not None]
                if not kept:
                    print(f"{name}: no seed came to its end; it is left out")
                    continue
                twin = finalists.gather(number, settings, kept, data.val.labels)
            entries[name] = dataclasses.replace(twin, number=number)
    return entries


def _once(searcher: Searcher, worker, settings, seed: int, out: Path) -> Path | None:
    shutil.rmtree(out, ignore_errors=True)
    result = worker.run(searcher.job(settings, seed) | {"out": str(out)})
    return out if result["status"] == "done" else None


def _compare(entries: dict[str, Finalist]) -> dict[str, Any]:
    reached = {name: {**e.describe(), "trial": name} for name, e in entries.items()}
    pairs = (("search", "default"), ("search", "random search"), ("random search", "default"))
    found = {}
    for first, second in pairs:
        if first in entries and second in entries:
            found[f"{first} against {second}"] = _verdict(
                first, second, finalists.compare(entries[first], entries[second])
            )
    return {"reached": reached, "comparisons": found}


def _verdict(first: str, second: str, compared: dict[str, Any]) -> dict[str, Any]:
    """Says in words who won, by log loss; a tie is called one."""
    loss = compared["losses"]
    if loss["low"] <= 0 <= loss["high"]:
        words = f"cannot tell {first} from {second}"
    else:
        words = f"{first if loss['value'] < 0 else second} is better"
    return {"result": words, "log loss": loss, "accuracy": compared["hits"]}


def _print(found: dict[str, Any]) -> None:
    print(f"\n{'':<16}{'log loss':<28}accuracy on validation")
    for name, row in found["reached"].items():
        loss, hits = row["loss"], row["accuracy"]
        loss_text = f"{loss['value']:.3f} ({loss['low']:.3f} to {loss['high']:.3f})"
        hits_text = (
            f"{100 * hits['value']:.1f} ({100 * hits['low']:.1f} to {100 * hits['high']:.1f})"
        )
        print(f"{name:<16}{loss_text:<28}{hits_text}, {row['seeds']} seeds")
    for name, row in found["comparisons"].items():
        loss, hits = row["log loss"], row["accuracy"]
        print(
            f"{name}: {row['result']}; log loss {loss['value']:+.3f} ({loss['low']:+.3f} to "
            f"{loss['high']:+.3f}), accuracy {100 * hits['value']:+.1f} "
            f"({100 * hits['low']:+.1f} to {100 * hits['high']:+.1f}) points"
        )
    print("Chosen and judged on the same validation images: expect a little less on others.")


if __name__ == "__main__":
    main()
