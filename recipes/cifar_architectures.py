"""Architectures on CIFAR-10: depth without and with shortcuts, dropout, BatchNorm.

    python recipes/cifar_architectures.py --data cifar10/      # or tfds:cifar10, the default
    python recipes/cifar_architectures.py --part depth --size 32 --learn 1000 --epochs 30

RESULT
"""

import itertools
from collections.abc import Sequence

import comparison
import numpy as np

import tlkit
from tlkit import nets
from tlkit.backbones import Backbone, Stage
from tlkit.preprocess import Preprocess

DROPOUT = ("maxpool-dropout", "maxpool-dropout-dense", "maxpool")
NORMS = ("batch", "none")
EPOCHS = {"depth": 10, "dropout": 20, "norm": 10}  # dropout takes longer to learn


def main() -> None:
    parser = comparison.options(__doc__, "cifar_architectures", data="tfds:cifar10")
    parser.add_argument("--part", choices=PARTS, help="one comparison; all three by default")
    parser.add_argument("--size", type=int, default=16, help="pixels along a side")
    parser.add_argument("--learn", type=int, default=125, help="images of each class to learn from")
    parser.add_argument("--test", type=int, default=200, help="images of each class to test on")
    parser.add_argument("--epochs", type=int, help=f"of every net; by default {EPOCHS}")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.set_defaults(seeds=2)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.data, arguments.seeds, arguments.epochs = "digits", 1, 1
        arguments.learn, arguments.test, arguments.depths = 5, 5, [20]
        arguments.part = arguments.part or "dropout"
    data = comparison.few(comparison.read(arguments.data), arguments.learn, arguments.test)
    given = arguments.epochs
    for part in [arguments.part] if arguments.part else PARTS:
        arguments.epochs = given or EPOCHS[part]
        print(f"\n{part}: {len(data.train):,} images, {arguments.epochs} epochs")
        PARTS[part](data, arguments)


def depth(data: tlkit.Data, arguments) -> None:
    """Plain against residual nets of the same weights, at growing depth."""
    right, losses = {}, {}
    for kind in ("plain", "resnet"):
        for layers in arguments.depths:
            name = f"{kind}-{layers}"
            right[name], losses[name] = _runs(name, data, arguments)
    found = comparison.accuracies(right)
    for name, values in losses.items():
        print(f"{name:<28} last training loss {_text(values)}")
    deepest, least = max(arguments.depths), min(arguments.depths)
    pairs = [(f"resnet-{layers}", f"plain-{layers}") for layers in arguments.depths]
    pairs += [(f"plain-{least}", f"plain-{deepest}"), (f"resnet-{least}", f"resnet-{deepest}")]
    comparison.differences(right, pairs)
    lines = {
        kind: {layers: found[f"{kind}-{layers}"] for layers in arguments.depths}
        for kind in ("plain", "resnet")
    }
    comparison.plot(arguments.out / "depth.png", lines, "layers", "accuracy, %")
    lines = {
        kind: {layers: _spread(losses[f"{kind}-{layers}"]) for layers in arguments.depths}
        for kind in ("plain", "resnet")
    }
    comparison.plot(arguments.out / "depth_loss.png", lines, "layers", "last training loss")


def dropout(data: tlkit.Data, arguments) -> None:
    """The lecture's max-pooling net without dropout, with it in the dense layers, everywhere."""
    runs = {name: _runs(name, data, arguments) for name in reversed(DROPOUT)}
    right = {name: values for name, (values, _) in runs.items()}
    found = comparison.accuracies(right)
    for name, (_, values) in runs.items():
        print(f"{name:<28} last training loss {_text(values)}")
    comparison.differences(right, itertools.pairwise(DROPOUT))
    comparison.plot(arguments.out / "dropout.png", {"test": found}, "", "accuracy, %")


def norm(data: tlkit.Data, arguments) -> None:
    """BatchNorm against none, without and with shortcuts."""
    names = [f"{kind}-{min(arguments.depths)}" for kind in ("plain", "resnet")]
    right = {
        f"{name}, {which}": _runs(name, data, arguments, norm=which)[0]
        for name in names
        for which in NORMS
    }
    found = comparison.accuracies(right)
    comparison.differences(right, [(f"{name}, batch", f"{name}, none") for name in names])
    comparison.plot(arguments.out / "norm.png", {"test": found}, "", "accuracy, %")


PARTS = {"depth": depth, "dropout": dropout, "norm": norm}


def _runs(name: str, data: tlkit.Data, arguments, norm: str | None = None):
    """Returns whether each test image is recognised, bool [seeds, images], and final losses."""
    runs = []
    for seed in range(arguments.seeds):
        rule = tlkit.PixelRule(arguments.size, "squash")
        backbone = _with_norm(name, norm, arguments.size, seed) if norm else name
        model = tlkit.Classifier(
            backbone, data.class_names, weights=None, size=rule, head=comparison.HEAD, seed=seed
        )
        out = arguments.out / f"{name}-{norm}" if norm else arguments.out / name
        phase = comparison.scratch(arguments.epochs)
        runs.append(comparison.train(model, data, phase, out / str(seed)))
    right = np.array([comparison.right(run) for run in runs])
    return right, [run.history[-1]["loss"] for run in runs]


def _with_norm(name: str, norm: str, size: int, seed: int) -> Backbone:
    """Returns a net whose normalization is not the published one."""
    import keras

    keras.utils.set_random_seed(seed)
    net = nets.features(name, input_shape=(size, size, 3), norm=norm)
    stages = tuple(Stage(*stage) for stage in nets.stages(name))
    preprocess = Preprocess(nets.info(name).pixels, 3, name="preprocess")
    return Backbone(name, net, preprocess, stages, size, 3, f"random, {norm} normalization")


def _spread(values: Sequence[float]) -> comparison.Interval:
    return float(np.mean(values)), min(values), max(values)


def _text(values: Sequence[float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f}, least and most of the seeds)".format(*_spread(values))


if __name__ == "__main__":
    main()
