"""Architectures on CIFAR-10: depth without and with shortcuts, dropout, BatchNorm.

    python recipes/lectures/cifar_architectures.py                      # tfds:cifar10
    python recipes/lectures/cifar_architectures.py --data cifar10/
    python recipes/lectures/cifar_architectures.py --part depth --size 32 --learn 1000 --epochs 30

Measured on a folder of CIFAR-10 with the defaults, which are small: pictures reduced to 16 pixels,
1,000 training, 250 validation and 2,000 test images, 2 seeds, no augmentation. Ten epochs (20 for
dropout), the best by validation loss; 18 minutes of CPU in all. In brackets 95 % intervals over
images and seeds; with two seeds, read them as too narrow.

    depth          test accuracy           last training loss
    plain-20       21.5 % (17.3 to 25.8)   0.93
    plain-56       13.9 % (12.6 to 15.3)   2.24
    resnet-20      28.2 % (24.9 to 31.5)   0.10
    resnet-56      22.9 % (20.7 to 25.1)   0.06

    Degradation shows: of the plain nets the deep one cannot even fit (-7.5, -12.4 to -2.9 in
    accuracy), of the residual ones it fits better. At 56 layers shortcuts gain +8.9 (+6.6 to
    +11.4), at 20 layers +6.7 (-0.1 to +13.4). But no deep net is better on test images: 1,000
    are too few, resnet-56 is 5.3 (2.7 to 8.0) below resnet-20.

    dropout        test accuracy           last training loss
    everywhere     23.9 % (22.1 to 25.6)   2.04
    dense layers   38.1 % (36.0 to 40.2)   0.43
    nowhere        35.4 % (33.5 to 37.2)   0.01

    Dropout in the dense layers gains +2.8 (+0.5 to +4.8), as in the lecture. Dropout everywhere
    does not follow: it loses 14.2 (11.9 to 16.5), and its loss says that it has hardly begun to
    learn; the lecture's order needs far more epochs, which were not tried.

    norm           with BatchNorm          without
    plain-20       25.9 % (23.8 to 28.0)   17.9 % (9.2 to 27.1)
    resnet-20      27.6 % (25.4 to 29.9)   30.6 % (28.8 to 32.5)

    Without BatchNorm one of two plain nets learnt nothing (10.0 %, the other 25.9 %), so the
    difference of +8.0 (-0.5 to +16.6) is not certain. It speeds up fitting: training losses are
    0.9 against 1.9 and 2.3, and 0.1 against 1.5. With shortcuts the faster fit only overfits:
    -3.0 (-5.7 to -0.5). The plain-20 of this part and that of the first differ in nothing but the
    random draws, 25.9 and 21.5 %: so much is chance.
"""

import itertools
from collections.abc import Mapping

import comparison
import numpy as np

import tlkit

DROPOUT = ("maxpool-dropout", "maxpool-dropout-dense", "maxpool")
KINDS = ("plain", "resnet")
NORMS = ("batch", "none")
EPOCHS = {"depth": 10, "dropout": 20, "norm": 10}  # dropout takes longer to learn


def main() -> None:
    parser = comparison.options(__doc__, "cifar_architectures", data="tfds:cifar10")
    parser.add_argument("--part", choices=list(PARTS), help="one comparison; all three by default")
    parser.add_argument("--size", type=int, default=16, help="pixels along a side")
    parser.add_argument("--learn", type=int, default=125, help="images of each class to learn from")
    parser.add_argument("--test", type=int, default=200, help="images of each class to test on")
    parser.add_argument("--epochs", type=int, help=f"of every net; by default {EPOCHS}")
    parser.add_argument(
        "--depths", type=int, nargs="+", default=[20, 56], help="layers of the nets"
    )
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
    names = [f"{kind}-{layers}" for kind in KINDS for layers in arguments.depths]
    right, losses = _all_runs({name: (name, None) for name in names}, data, arguments)
    found = comparison.accuracies(right)
    deeper = itertools.pairwise(sorted(arguments.depths))
    pairs = [(f"resnet-{layers}", f"plain-{layers}") for layers in arguments.depths]
    pairs += [(f"{kind}-{less}", f"{kind}-{more}") for less, more in deeper for kind in KINDS]
    comparison.differences(right, pairs)
    for quantity, values in (("accuracy, %", found), ("last training loss", losses)):
        lines = {
            kind: {layers: values[f"{kind}-{layers}"] for layers in arguments.depths}
            for kind in KINDS
        }
        picture = arguments.out / f"depth_{quantity.split()[-1].replace('%', 'accuracy')}.png"
        comparison.plot(picture, lines, "layers", quantity)


def dropout(data: tlkit.Data, arguments) -> None:
    """The lecture's max-pooling net with dropout everywhere, in the dense layers, nowhere."""
    right, _ = _all_runs({name: (name, None) for name in DROPOUT}, data, arguments)
    found = comparison.accuracies(right)
    comparison.differences(right, itertools.pairwise(DROPOUT))
    comparison.plot(arguments.out / "dropout.png", {"test": found}, "", "accuracy, %")


def norm(data: tlkit.Data, arguments) -> None:
    """BatchNorm against none, without and with shortcuts."""
    names = [f"{kind}-{min(arguments.depths)}" for kind in KINDS]
    nets_of = {f"{name}, {which}": (name, which) for name in names for which in NORMS}
    right, _ = _all_runs(nets_of, data, arguments)
    found = comparison.accuracies(right)
    comparison.differences(right, [(f"{name}, batch", f"{name}, none") for name in names])
    comparison.plot(arguments.out / "norm.png", {"test": found}, "", "accuracy, %")


PARTS = {"depth": depth, "dropout": dropout, "norm": norm}


def _all_runs(chosen: Mapping[str, tuple[str, str | None]], data: tlkit.Data, arguments):
    """Returns bool [seeds, images] and the interval of last training losses of each label."""
    right, losses = {}, {}
    for label, (name, norm) in chosen.items():
        runs = [_run(name, norm, data, arguments, seed) for seed in range(arguments.seeds)]
        right[label] = np.array([comparison.right(run) for run in runs])
        last = [run.history[-1]["loss"] for run in runs]
        losses[label] = (float(np.mean(last)), min(last), max(last))
        print("{}: last training loss {:.3f}, seeds {:.3f} to {:.3f}".format(label, *losses[label]))
    return right, losses


def _run(name: str, norm: str | None, data: tlkit.Data, arguments, seed: int) -> tlkit.Run:
    rule = tlkit.PixelRule(arguments.size, "squash")
    backbone = _with_norm(name, norm, arguments.size, seed) if norm else name
    model = tlkit.Classifier(
        backbone, data.class_names, weights=None, size=rule, head=comparison.HEAD, seed=seed
    )
    folder = f"{name}-{norm}" if norm else name
    phase = comparison.scratch(arguments.epochs)
    return comparison.train(model, data, phase, arguments.out / folder / str(seed))


def _with_norm(name: str, norm: str, size: int, seed: int) -> tlkit.Backbone:
    """Returns a net whose normalization is not the published one."""
    import keras

    keras.utils.set_random_seed(seed)
    net = tlkit.nets.features(name, input_shape=(size, size, 3), norm=norm)
    stages = tuple(tlkit.Stage(*stage) for stage in tlkit.nets.stages(name))
    preprocess = tlkit.Preprocess(tlkit.nets.info(name).pixels, 3, name="preprocess")
    return tlkit.Backbone(name, net, preprocess, stages, size, 3, f"random, {norm} normalization")


if __name__ == "__main__":
    main()
