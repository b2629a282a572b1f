"""Flowers, 5 kinds: head only, fine-tuned and from scratch on the same images.

    python recipes/flowers.py                      # tf_flowers by TensorFlow Datasets
    python recipes/flowers.py --data flowers/ --weights FILE

RESULT
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import tlkit
from tlkit import phases as schedules
from tlkit.resampling import paired_difference

BACKBONE, SIZE = "mobilenet_v2", 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="tfds:tf_flowers", help="a folder, CSV or TFDS name")
    parser.add_argument("--out", type=Path, default=Path("runs/flowers"))
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a smoke test: one epoch, 32 pixels")
    arguments = parser.parse_args()
    data = tlkit.load_images(arguments.data, seed=arguments.seed)
    runs = {how: _train(how, data, arguments) for how in ("head only", "fine-tuned", "scratch")}
    _compare(runs, data.test)


def _train(how: str, data: tlkit.Data, arguments) -> tlkit.Run:
    """Trains one way; from scratch gets as many passes over the whole net as fine-tuning may."""
    weights = None if how == "scratch" or arguments.quick else arguments.weights
    name, size = ("lenet-5-modern", 32) if arguments.quick else (BACKBONE, SIZE)
    model = tlkit.Classifier(
        name, data.class_names, weights=weights, size=size, seed=arguments.seed
    )
    phases: Sequence[tlkit.Phase] = schedules.head_then_upper(model.stages)
    if how == "scratch":
        phases = tlkit.default_phases(model, epochs=phases[-1].epochs)
    elif how == "head only":
        phases = phases[:1]
    if arguments.quick:
        phases = [schedules.quick(phase) for phase in phases]
    began = time.perf_counter()
    run = model.fine_tune(
        data, phases, out=arguments.out / how.replace(" ", "-"), seed=arguments.seed
    )
    print(f"\n{how}, {time.perf_counter() - began:.0f} s\n{run.evaluate(data.test)}")
    run.report()
    return run


def _compare(runs: dict[str, tlkit.Run], test) -> None:
    right = {how: run.correct(test) for how, run in runs.items()}
    for other in ("head only", "scratch"):
        verdict = paired_difference(right["fine-tuned"], right[other])["verdict"]
        print(f"fine-tuned against {other}: {verdict}")


if __name__ == "__main__":
    main()
