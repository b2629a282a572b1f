"""How many planted label errors and contradictory copies tlkit finds in a real folder.

    python -m benchmarks.label_flips FOLDER --backbone mobilenet_v2 --weights FILE --size 160

Features are computed once. Each seed flips 5 % of the labels to another class at random and reads
the worklist; the folder's own wrong labels count as false alarms, so true precision is higher.
Then re-encoded copies of some pictures are put into other classes of a temporary folder.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tlkit.evaluation import probes
from tlkit.evaluation.folds import grouped_folds
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.images import checks, sources, subset
from tlkit.labels import confident_learning, doubts
from tlkit.labels.worklist import Worklist
from tlkit.models.network import POOLED
from tlkit.workflows import recipes

SHARE, COPIES = 0.05, 20


@dataclasses.dataclass(frozen=True)
class Known:
    """Images, and what is computed of them once."""

    labels: np.ndarray
    class_names: tuple[str, ...]
    files: tuple[str, ...]
    features: np.ndarray
    clusters: np.ndarray


def known(folder: str, backbone: str, weights: str, size: int | None) -> Known:
    """Returns what all seeds share."""
    images = subset.gather(folder)
    settings = {"backbone": backbone, "weights": weights, "size": size}
    model = recipes.classifier(settings, images.class_names)
    features = Frozen(model, Store.default()).rows(images, POOLED, View())
    table = images.table
    clusters = checks.check(table).clusters
    return Known(table.labels, images.class_names, table.items, features, clusters)


def planted(labels: np.ndarray, classes: int, share: float, seed: int):
    """Returns labels with `share` of them changed, and the rows that were."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    flipped = labels.copy()
    flipped[rows] = (labels[rows] + rng.integers(1, classes, len(rows))) % classes
    return flipped, rows


def judge(base: Known, labels: np.ndarray, seed: int):
    """Returns the worklist, what confident learning alone lists (bool [n]), and the margins."""
    folds = grouped_folds(labels, base.clusters, seed=seed)
    chances = probes.out_of_fold(base.features, labels, folds, seed)
    evidence = doubts.Evidence(
        base.files, labels, base.class_names, chances, base.features, base.clusters
    )
    return doubts.find(evidence), *confident_learning.label_errors(
        confident_learning.clean(chances, labels), labels
    )


def flips(base: Known, seed: int, share: float = SHARE) -> dict:
    """Returns precision and recall of one seed, of the list and of the worst k by margin."""
    labels, rows = planted(base.labels, len(base.class_names), share, seed)
    worklist, wrong, margins = judge(base, labels, seed)
    order, k = np.argsort(margins, kind="stable"), len(rows)
    listed = np.flatnonzero(wrong)
    hits = {at: np.isin(order[:at], rows).sum() for at in (k // 2, k, 2 * k)}
    right = worklist_rows(worklist)
    return {
        "planted": k,
        "listed": len(listed),
        "precision": np.isin(listed, rows).mean() if len(listed) else 1.0,
        "recall": np.isin(rows, listed).mean(),
        "suggestion_right": np.mean(
            [right[row] == base.class_names[base.labels[row]] for row in rows if row in right]
        ),
        "precision_at_half_k": hits[k // 2] / max(k // 2, 1),
        "precision_at_k": hits[k] / k,
        "recall_at_2k": hits[2 * k] / k,
        "estimated_wrong": worklist.wrong,
    }


def worklist_rows(worklist: Worklist) -> dict[int, str]:
    """Returns row -> suggested label."""
    return {doubt.row: doubt.suggested for doubt in worklist.doubts}


def as_is(base: Known, seed: int) -> dict:
    """Returns the share of images in doubt when nothing is planted."""
    worklist, wrong, _ = judge(base, base.labels, seed)
    chosen = len(worklist.doubts) / len(base.labels)
    return {"alarms": chosen, "by_probabilities": wrong.mean(), "estimated_wrong": worklist.wrong}


def copies(folder: str, count: int = COPIES, seed: int = 0) -> tuple[int, int]:
    """Returns how many planted copies under a wrong label are found, and how many there are.

    A copy is reduced to 80 % and written again as JPEG of quality 80.
    """
    table = subset.gather(folder).table
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(table), min(count, len(table)), replace=False)
    with tempfile.TemporaryDirectory() as place:
        root, names = Path(place), table.class_names
        for name in names:
            (root / name).mkdir()
        for number, row in enumerate(range(len(table))):
            target = root / names[table.labels[row]] / f"{number}{table.path(row).suffix}"
            target.symlink_to(table.path(row).absolute())
        for row in rows.tolist():
            other = names[(table.labels[row] + 1) % len(names)]
            _shrink(table.path(row), root / other / f"copy_of_{row}.jpg")
        return _found(root), len(rows)


def _found(root: Path) -> int:
    checked = checks.check(sources.read_source(root), cache=False)
    labels, flat = (
        checked.table.labels,
        np.zeros((len(checked.table), len(checked.table.class_names))),
    )
    rows = {row for row, *_ in confident_learning.contradictions(labels, checked.clusters, flat)}
    rows |= {
        other for _, other, _ in confident_learning.contradictions(labels, checked.clusters, flat)
    }
    return sum("copy_of_" in str(checked.table.items[row]) for row in rows)


def _shrink(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        size = [max(8, round(0.8 * side)) for side in image.size]
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(target, quality=80)


def main(arguments: list[str] | None = None) -> None:
    """Prints one line for each seed and the means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--size", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    base = known(options.folder, options.backbone, options.weights, options.size)
    print(f"{len(base.labels):,} images, {len(base.class_names)} classes")
    series = {"as is": as_is, "5 % flipped": flips}
    for title, run in series.items():
        rows = [run(base, seed) for seed in range(options.seeds)]
        for row in rows:
            print(title, json.dumps({key: round(float(value), 3) for key, value in row.items()}))
        means = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
        print(f"{title}, mean of {len(rows)}: {json.dumps(means)}")
    found, count = copies(options.folder)
    print(f"planted copies found: {found} of {count}")


if __name__ == "__main__":
    main()
