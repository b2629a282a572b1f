"""Flowers, 5 kinds: head only, fine-tuned and from scratch on the same images.

    python recipes/datasets/flowers.py                      # tf_flowers by TensorFlow Datasets
    python recipes/datasets/flowers.py --data flowers/ --weights FILE

Measured with real MobileNetV2 weights at 160 pixels on 1,500 of the images (847 training after 3
copies of test images were left out, 150 validation, 500 test), one seed, two busy cores:

    head only                   85.6 % (82.4 to 88.8)    20 s
    fine-tuned                  89.2 % (86.6 to 92.0)    41 s
    from scratch, 12 epochs     68.4 % (64.4 to 72.4)   363 s
    Keras guide, 20 + 10 epochs 86.4 %                  662 s

Fine-tuned against head only +3.6 (+1.2 to +6.2), against scratch +20.8 (+16.8 to +25.0), against
the Keras guide's recipe on the same split and weights +2.8 (+0.0 to +5.4): cannot tell them apart.
On 208 photos of ants and bees: head only and fine-tuned 91.5 % (86.9 to 95.4; no later epoch beat
the head), from scratch 66.0 % (58.2 to 73.2), the guide's recipe 89.5 %.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import tlkit

BACKBONE, SIZE = "mobilenet_v2", 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="tfds:tf_flowers", help="a folder, CSV or TFDS name")
    parser.add_argument("--out", type=Path, default=Path("runs/flowers"), help="run folders")
    parser.add_argument("--weights", default="imagenet", help="or a weights file")
    parser.add_argument("--seed", type=int, default=0, help="of split and training")
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
    head = tlkit.Phase("head", epochs=40, rate=3e-3, patience=6)
    tail = tlkit.Phase(
        "fine-tune", unfreeze=model.stages[-1], epochs=12, rate=3e-4, patience=5
    )  # these two are what `default_phases` gives a pretrained model
    phases: Sequence[tlkit.Phase] = (head, tail)
    if how == "scratch":
        phases = tlkit.default_phases(model, epochs=tail.epochs)
    elif how == "head only":
        phases = phases[:1]
    if arguments.quick:
        phases = [dataclasses.replace(phase, epochs=1, views=1) for phase in phases]
    began = time.perf_counter()
    run = tlkit.fine_tune(
        model, data, phases, out=arguments.out / how.replace(" ", "-"), seed=arguments.seed
    )
    print(f"\n{how}, {time.perf_counter() - began:.0f} s\n{run.evaluate(data.test)}")
    tlkit.report(run)
    return run


def _compare(runs: dict[str, tlkit.Run], test) -> None:
    right = {how: run.correct(test) for how, run in runs.items()}
    for other in ("head only", "scratch"):
        verdict = tlkit.paired_difference(right["fine-tuned"], right[other])["verdict"]
        print(f"fine-tuned against {other}: {verdict}")


if __name__ == "__main__":
    main()
