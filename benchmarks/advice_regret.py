"""Is the advice any good? Its regret against an exhaustive grid, on subsets of real sets.

    python -m benchmarks.advice_regret --data flowers=data/flowers --weights NET=FILE \
        --sizes 50,200,800 --seeds 3 --pixels 128 --out regret.json

For each set, number of images, seed and network: the adviser's plan is trained, and the default,
and every cell of the grid (head only, last stage, two stages, all, from scratch) with as many
epochs and as much patience as the advice has; all are judged on the same test images. What is
finished is in the JSON file and skipped when the command is repeated. Equal plans are trained once.
"""

import argparse
import csv
import dataclasses
import itertools
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

EPOCHS = 52  # of every cell at least, head phase included: those of the default
BOOTSTRAP = 2000
PROBES, TUNED = ("probe", "logme"), "default"  # what ranks networks, and the cell that is ranked


@dataclasses.dataclass(frozen=True)
class Case:
    """One subset of one set, for one network."""

    data: str
    folder: str
    images: int
    seed: int
    backbone: str
    weights: str | None
    pixels: int

    @property
    def key(self) -> str:
        return f"{self.data}/{self.images}/{self.seed}/{self.backbone}/{self.pixels}"


def grid(stages: tuple[str, ...], policy: str, epochs: int) -> dict:
    """Returns the cells as phases, all with `epochs` epochs at most and patience in proportion."""
    from tlkit.phases import phase as phases

    head = phases.head_then_upper(stages)[0]

    def lasting(phase, count):
        return dataclasses.replace(phase, epochs=count, patience=max(phase.patience, count // 5))

    def deeper(first):
        upper = phases.head_then_upper(stages, first)[1]
        return lasting(head, 2 * epochs // 3), lasting(upper, epochs - 2 * epochs // 3)

    cells = {
        "default": phases.head_then_upper(stages),
        "head only": (lasting(head, epochs),),
        "last stage": deeper(stages[-1]),
        "two stages": deeper(stages[-2]),
        "all": deeper("all"),
        "scratch": (lasting(phases.from_scratch()[0], epochs),),
    }
    return {
        name: tuple(dataclasses.replace(phase, augment=policy) for phase in plan)
        for name, plan in cells.items()
    }


def subset(case: Case, test_limit: int, folder: Path) -> Path:
    """Writes a CSV of `case.images` training images drawn by the seed, and of the test images."""
    from tlkit.images.dataset import load_images

    data = load_images(case.folder)
    draw = np.random.default_rng(case.seed)
    known = [(data.train, "train"), (data.val, "train"), (data.test, "test")]
    rows = {"train": [], "test": []}
    for images, role in known:
        names = [images.class_names[i] for i in images.labels]
        rows[role] += list(zip(images.files, names, strict=True))
    chosen = _spread(rows["train"], case.images, draw)
    tested = _spread(rows["test"], test_limit, np.random.default_rng(0))  # the same for all seeds
    path = folder / "images.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "label", "split"))
        out.writerows((*row, "train") for row in chosen)
        out.writerows((*row, "test") for row in tested)
    return path


def _spread(rows, count, draw) -> list:
    """Returns `count` rows, classes dealt out in turn."""
    by_class = defaultdict(list)
    for i in draw.permutation(len(rows)):
        by_class[rows[i][1]].append(rows[i])
    turns = [(turn, name) for name, of in by_class.items() for turn in range(len(of))]
    return [by_class[name][turn] for turn, name in sorted(turns)][:count]


def measure(case: Case, results: dict, save, test_limit: int, cells: list[str]) -> None:
    """Adds what is missing of one case to `results`."""
    from tlkit.advice.advise import advise
    from tlkit.features.store import Store
    from tlkit.images.dataset import load_images
    from tlkit.planning import budget

    found = results.setdefault(case.key, {"case": dataclasses.asdict(case), "plans": {}})
    wanted = [name for name in ("advised", *cells) if name not in found.get("cells", {})]
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as folder:
        data = load_images(subset(case, test_limit, Path(folder)), cache=False)
        began = time.perf_counter()
        advice = advise(
            data, [case.backbone], weights={case.backbone: case.weights}, size=case.pixels
        )
        found["advice"] = _advice(advice) | {"seconds": time.perf_counter() - began}
        planned = advice.plan.phases
        epochs = max(EPOCHS, sum(phase.epochs for phase in planned))
        all_cells = {"advised": planned} | grid(advice.facts.stages, planned[0].augment, epochs)
        for name in wanted:
            key = json.dumps([dataclasses.asdict(p) for p in all_cells[name]], sort_keys=True)
            if key not in found["plans"]:
                random = name == "scratch"
                found["plans"][key] = _train(case, data, all_cells[name], random, Store.default())
            if name == "advised":
                epochs_run = found["plans"][key]["epochs"]
                found["advice"]["expected"] = budget.expected(advice.cost, epochs_run)
            found.setdefault("cells", {})[name] = found["plans"][key]
            print(f"{case.key} {name}: {found['cells'][name]['accuracy']:.3f}", flush=True)
            save()


def _advice(advice) -> dict:
    kept = ("facts", "plan", "phases", "accuracy", "minutes", "kind")
    values = advice.numbers()
    top = values["candidates"][0]
    last = advice.facts.stages[-1]
    return {name: values[name] for name in kept} | {
        "probe": top["stages"][last]["linear"]["value"], "logme": top["stages"][last]["logme"],
        "domain": top["domain"],
    }  # fmt: skip


def _train(case: Case, data, plan, random: bool, store) -> dict:
    import tlkit
    from tlkit.features.decoded import pixel_rows
    from tlkit.models.classifier import Classifier

    model = Classifier(
        case.backbone, data.class_names, size=case.pixels, seed=case.seed,
        weights=None if random else case.weights,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        out = Path(folder) / "run"
        run = tlkit.fine_tune(model, data, plan, out=out, seed=case.seed, store=store)
        seconds = time.perf_counter() - began
    rows = pixel_rows(store, data.test, model.rule)
    right = model.logits(rows).argmax(1) == data.test.labels
    return {
        "accuracy": float(right.mean()),
        "correct": "".join("01"[int(one)] for one in right),
        "seconds": seconds,
        "epochs": [record["epochs"] for record in run.records],
    }


def summary(results: dict) -> dict:
    """Returns regrets by set and size, and what all of them say about the adviser."""
    groups = defaultdict(list)
    for found in results.values():
        if "advised" in found.get("cells", {}):
            case = found["case"]
            groups[case["data"], case["images"], case["backbone"]].append(found)
    rows = [_row(key, cases) for key, cases in sorted(groups.items())]
    done = [found for cases in groups.values() for found in cases]
    return {
        "rows": rows,
        "mean_regret": _mean(row["regret"] for row in rows),
        # The adviser may beat the whole grid, whose epochs are equal: that must not pay for losses.
        "mean_loss": _mean(max(row["regret"], 0.0) for row in rows),
        "mean_default_regret": _mean(row["default_regret"] for row in rows),
        "surely_worse_than_default": [
            row["name"] for row in rows if row["against_default"]["high"] < 0
        ],
        "coverage": _mean(_covered(found) for found in done),
        "time_ratio": [found["cells"]["advised"]["seconds"] / found["advice"]["expected"]
                       for found in done],
        "kendall": list(_kendall(groups)),
    }  # fmt: skip


def _row(key, cases) -> dict:
    """Returns one line: mean accuracy by cell, and regrets with intervals over images and seeds."""
    names = set.intersection(*(set(found["cells"]) for found in cases)) - {"advised"}
    means = {n: _mean(f["cells"][n]["accuracy"] for f in cases) for n in (*names, "advised")}
    best = max(sorted(names), key=means.get)
    regret = _difference(cases, best, "advised")
    against = _difference(cases, "advised", "default")
    return {
        "name": " ".join(map(str, key)), "seeds": len(cases), "accuracy": means, "best": best,
        "plans": sorted({found["advice"]["plan"] for found in cases}),
        "regret": means[best] - means["advised"], "regret_interval": regret,
        "default_regret": means[best] - means["default"], "against_default": against,
    }  # fmt: skip


def _difference(cases, one: str, other: str) -> dict:
    """Returns accuracy of `one` minus that of `other`, with its interval."""
    return _interval(np.stack([_right(found, one) - _right(found, other) for found in cases]))


def _interval(gaps: np.ndarray) -> dict:
    """Returns the mean of gaps [seeds, images] and 95 % over seeds and test images drawn."""
    draw = np.random.default_rng(0)
    seeds = draw.integers(len(gaps), size=(BOOTSTRAP, len(gaps)))
    # The test images are the same for every seed: they are drawn once for all of them.
    means = [
        gaps[chosen][:, draw.integers(gaps.shape[1], size=gaps.shape[1])].mean() for chosen in seeds
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(gaps.mean()), "low": float(low), "high": float(high)}


def _right(found, name) -> np.ndarray:
    return np.array(list(found["cells"][name]["correct"]), np.float64)


def _covered(found) -> bool:
    _, low, high = found["advice"]["accuracy"]
    return low <= found["cells"]["advised"]["accuracy"] <= high


def _kendall(groups) -> Iterator[dict]:
    """Yields, by set and size, how the probe's order of networks agrees with the trained one."""
    from scipy.stats import kendalltau

    by_set = defaultdict(list)
    for (data, images, _), cases in groups.items():
        by_set[data, images].append(cases)
    for key, nets in by_set.items():
        if len(nets) > 1:
            probe, logme = ([_mean(f["advice"][k] for f in of) for of in nets] for k in PROBES)
            tuned = [_mean(f["cells"][TUNED]["accuracy"] for f in cases) for cases in nets]
            yield {
                "set": " ".join(map(str, key)),
                "probe": float(kendalltau(probe, tuned).statistic),
                "logme": float(kendalltau(logme, tuned).statistic),
                "sure": list(_sure_pairs(nets, probe)),
            }


def _sure_pairs(nets, probe) -> Iterator[bool]:
    """Yields, for each two networks that surely differ once trained, whether the probe said so."""
    for (i, first), (j, second) in itertools.combinations(enumerate(nets), 2):
        seeds = zip(first, second, strict=False)
        gap = _interval(np.stack([_right(a, TUNED) - _right(b, TUNED) for a, b in seeds]))
        if gap["low"] > 0 or gap["high"] < 0:
            yield (gap["value"] > 0) == (probe[i] > probe[j])


def _mean(values) -> float:
    return float(np.mean(list(values)))


def show(found: dict) -> Iterator[str]:
    """Yields the summary as lines."""
    for row in found["rows"]:
        cells = ", ".join(f"{n} {100 * v:.1f}" for n, v in sorted(row["accuracy"].items()))
        points = [100 * row["regret_interval"][k] for k in ("value", "low", "high")]
        yield f"{row['name']}: {cells}"
        yield (
            f"    advised {', '.join(row['plans'])}; regret {points[0]:+.1f} points "
            f"({points[1]:+.1f} to {points[2]:+.1f}) against {row['best']}"
        )
    yield (
        f"mean regret {100 * found['mean_regret']:.2f} points, where worse than the grid alone "
        f"{100 * found['mean_loss']:.2f}, of the default "
        f"{100 * found['mean_default_regret']:.2f}; ranges cover {100 * found['coverage']:.0f} %; "
        f"surely worse than the default: {found['surely_worse_than_default'] or 'never'}"
    )
    ratios = sorted(found["time_ratio"])
    yield f"seconds taken / expected for those epochs: {', '.join(f'{r:.2f}' for r in ratios)}"
    for row in found["kendall"]:
        sure = f"{sum(row['sure'])} of {len(row['sure'])} pairs that surely differ are in order"
        taus = f"Kendall tau of probe {row['probe']:.2f}, of LogME {row['logme']:.2f}"
        yield f"{row['set']}: {taus}; {sure}"


def main(arguments: list[str] | None = None) -> dict:
    """Runs what is missing, writes the JSON file and prints the summary."""
    options = _parser().parse_args(arguments)
    out = Path(options.out)
    results = json.loads(out.read_text())["results"] if out.exists() else {}

    def save():
        temporary = out.with_suffix(".tmp")
        temporary.write_text(json.dumps({"results": results}, indent=1))
        temporary.replace(out)

    for case in _cases(options):
        measure(case, results, save, options.test_limit, options.cells.split(","))
    if not results:
        sys.exit("Nothing to measure: give --data and --weights.")
    found = summary(results)
    out.write_text(json.dumps({"summary": found, "results": results}, indent=1))
    print("\n".join(show(found)))
    return found


def _cases(options) -> Iterator[Case]:
    for data, folder in (pair.split("=", 1) for pair in options.data):
        for images in map(int, options.sizes.split(",")):
            for seed in range(options.seeds):
                for name, file in (pair.split("=", 1) for pair in options.weights):
                    yield Case(data, folder, images, seed, name, file or None, options.pixels)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--weights", action="append", default=[], metavar="NET=FILE")
    parser.add_argument("--sizes", default="50,200,1000", help="training images, val included")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--test-limit", type=int, default=500)
    parser.add_argument("--cells", default="default,head only,last stage,two stages,all,scratch")
    parser.add_argument("--out", default="advice_regret.json")
    return parser


if __name__ == "__main__":
    main()
