"""Yosinski's question on small data: up to which stage are features general?

    python recipes/lectures/transferability.py
    python recipes/lectures/transferability.py --data cifar10/ --seeds 2 --learn 100 --epochs 15

The first n stages of a net trained on A are copied into a net for B, those above start anew, and
all is trained on B: AnB keeps the copied stages as they are, AnB+ trains them too. BnB and BnB+
do so with a net trained on B itself. B is always the same; A is near to it or far from it, with as
many classes and images (so, unlike in the paper, one target tells near from far).

Measured with LeNet-5 on scikit-learn's digits, B = 2 3 4 6 7, near A = 0 1 5 8 9, far A = stripes
at five angles: 120 training, 30 validation and 700 test images each, 3 seeds, 3 minutes of CPU.
Accuracy on B in %, 95 % intervals over images and seeds; trained on B alone: 98.7 (97.7 to 99.4).

    stages     1                     2                     3                     4 (all)
    BnB        98.8 (98.0 to 99.6)   98.6 (97.6 to 99.4)   98.4 (97.5 to 99.2)   97.8 (96.6 to 98.8)
    near AnB   98.4 (97.5 to 99.2)   98.7 (97.7 to 99.5)   96.2 (94.7 to 97.5)   88.5 (85.9 to 90.9)
    far AnB    98.7 (97.8 to 99.5)   98.3 (97.2 to 99.2)   97.3 (96.0 to 98.4)   91.2 (89.0 to 93.2)
    BnB+, AnB+: 98.2 to 98.9 at every n; none can be told from training on B alone.

Frozen transfer falls with depth as in the paper: two stages are general, with three near A loses
2.5 (1.2 to 3.9), with four 10.2 (7.9 to 12.8), and training them on repairs it. Three findings of
the paper do not show. Near is not better than far: with four stages it is worse by 2.8 (0.2 to
5.1), as stripes are perhaps the better teacher of strokes. There is no dip of BnB in the middle,
only -0.9 (-1.6 to -0.2) at the end. AnB+ does not beat training on B alone.

On CIFAR-10 with the second command (B = cat, deer, frog; near = bird, dog, horse; far = airplane,
automobile, truck; 240 training, 60 validation, 420 test images, 2 seeds, 2 minutes of CPU), B
alone gives 50.8 (42.9 to 58.6) and intervals of differences are about ten points to either side:
too wide for any order. Of 24 only two exclude zero, both losses: near AnB with four stages by 10.1
(1.7 to 18.1), as expected, and BnB+ with four by 5.2 (0.2 to 10.5), which may be chance.
"""

from pathlib import Path

import comparison
import numpy as np

import tlkit

NET = "lenet-5-modern"
RULE = tlkit.PixelRule(32, "squash")
PLAN = {"batch_size": 8, "rate": 2e-3}  # enough steps for a new head on frozen features
ANGLES = (0, 36, 72, 108, 144)
TASKS: dict[str, dict[str, tuple[str, ...]]] = {
    "digits": {  # two halves, drawn once
        "B": ("2", "3", "4", "6", "7"),
        "near": ("0", "1", "5", "8", "9"),
        "far": tuple(f"stripes {angle}" for angle in ANGLES),
    },
    "CIFAR-10": {
        "B": ("cat", "deer", "frog"),
        "near": ("bird", "dog", "horse"),
        "far": ("airplane", "automobile", "truck"),
    },
}


def main() -> None:
    parser = comparison.options(__doc__, "transferability")
    parser.add_argument("--learn", type=int, default=30, help="images of each class to learn from")
    parser.add_argument("--test", type=int, default=140, help="images of each class to test on")
    parser.add_argument("--epochs", type=int, default=30, help="of every net")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.data, arguments.seeds, arguments.epochs = "digits", 1, 1
        arguments.learn, arguments.test = 5, 5
    tasks = _tasks(arguments)
    results: dict[str, dict[int, list[np.ndarray]]] = {}
    for seed in range(arguments.seeds):
        folder = arguments.out / "base"
        bases = {name: _base(tasks[name], arguments, folder / name / str(seed)) for name in tasks}
        for curve, base, n in _grid(bases, arguments.quick):
            out = arguments.out / curve / str(n) / str(seed)
            run = _transfer(base, tasks["B"], n, arguments.epochs, out)
            results.setdefault(curve, {}).setdefault(n, []).append(comparison.right(run))
        results.setdefault("B", {}).setdefault(0, []).append(comparison.right(bases["B"]))
    _conclude(results, arguments.out / "transferability.png")


def _tasks(arguments) -> dict[str, tlkit.Data]:
    """Returns the images of B and of each A."""
    rows = comparison.read(arguments.data)
    if arguments.data == comparison.DIGITS:
        rows = _with_stripes(rows)
    known = [
        task for task in TASKS.values() if set().union(*task.values()) <= set(rows.class_names)
    ]
    if not known:
        raise tlkit.TlkitError(f"{arguments.data} has no classes that TASKS in {__file__} names.")
    parts = {
        name: names for name, names in known[0].items() if name != "far" or not arguments.quick
    }
    return {
        name: comparison.few(rows, arguments.learn, arguments.test, names)
        for name, names in parts.items()
    }


def _with_stripes(rows: tlkit.Table) -> tlkit.Table:
    """Adds pictures of noisy stripes, one class for each angle: as little like digits as can be."""
    draw = np.random.default_rng(0)
    digits = np.asarray(rows.arrays)
    count, side = 180, digits.shape[1]
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    pictures, labels = [digits], [np.array(rows.class_names)[rows.labels]]
    for angle in ANGLES:
        turned = across * np.cos(np.radians(angle)) + down * np.sin(np.radians(angle))
        phase, noise = (
            draw.uniform(0, 2 * np.pi, (count, 1, 1)),
            draw.normal(0, 60, (count, side, side)),
        )
        waves = 127.5 + 90 * np.sin(turned * 2 * np.pi / 4 + phase) + noise
        pictures.append(waves.clip(0, 255).astype(np.uint8))
        labels.append(np.full(count, f"stripes {angle}"))
    return tlkit.from_arrays(np.concatenate(pictures), np.concatenate(labels), source=rows.source)


def _grid(bases: dict[str, tlkit.Run], quick: bool):
    """Yields (name of the curve, net to copy from, number of stages copied)."""
    stages = len(bases["B"].model.stages)
    for n in (2,) if quick else range(1, stages + 1):
        for name, base in bases.items():
            curve = "BnB" if name == "B" else f"{name} AnB"
            yield from ((curve, base, n), (f"{curve}+", base, n))


def _base(data: tlkit.Data, arguments, out: Path) -> tlkit.Run:
    model = tlkit.Classifier(
        NET, data.class_names, weights=None, size=RULE, head=comparison.HEAD, seed=int(out.name)
    )
    return comparison.train(model, data, comparison.scratch(arguments.epochs, **PLAN), out)


def _transfer(base: tlkit.Run, data: tlkit.Data, n: int, epochs: int, out: Path) -> tlkit.Run:
    """Trains a net for B whose first `n` stages are those of `base`; they move if `out` says +."""
    stages = base.model.stages
    above = stages[n] if n < len(stages) else None
    seed = 1000 + int(out.name)  # else a net for B would start anew from where it first started
    model = tlkit.Classifier(
        base.model, data.class_names, head=comparison.HEAD, replace_from=above, seed=seed
    )
    moving = "all" if out.parent.parent.name.endswith("+") else above
    phase = comparison.scratch(epochs, unfreeze=moving, **PLAN)
    return comparison.train(model, data, phase, out)


def _conclude(results: dict[str, dict[int, list[np.ndarray]]], picture: Path) -> None:
    flat = {
        f"{curve}, n = {n}": np.array(runs)
        for curve, points in results.items()
        for n, runs in points.items()
    }
    found = comparison.accuracies(flat)
    pairs = [(name, "B, n = 0") for name in flat if name != "B, n = 0"]
    pairs += [(name, name.replace("near", "far")) for name in flat if name.startswith("near")]
    comparison.differences(flat, [pair for pair in pairs if set(pair) <= set(flat)])
    lines = {
        curve: {n: found[f"{curve}, n = {n}" if n else "B, n = 0"] for n in (0, *points)}
        for curve, points in results.items()
        if curve != "B"
    }
    comparison.plot(picture, lines, "stages copied (0: none)", "accuracy on B, %")


if __name__ == "__main__":
    main()
