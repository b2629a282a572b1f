"""AlexNet: Krizhevsky et al. 2012, section 3.5 and figure 2; Caffe's and torchvision's versions."""

from tlkit.nets._rows import LRN, Conv, Dense, Dropout, Flatten, MaxPool, logits
from tlkit.nets._spec import Net, Options

CAFFE_LRN = LRN(k=1.0, alpha=2e-5)  # Caffe divides the printed alpha, 1e-4, by the size, 5


def _paper(groups):
    # groups=2 is the split over two GPUs: the halves meet in conv3 and in the dense layers.
    return (
        ("conv1", Conv(96, 11, stride=4, pad="valid")), ("norm1", LRN()), ("pool1", MaxPool(3, 2)),
        ("conv2", Conv(256, 5, groups=groups)),         ("norm2", LRN()), ("pool2", MaxPool(3, 2)),
        ("conv3", Conv(384, 3)),
        ("conv4", Conv(384, 3, groups=groups)),
        ("conv5", Conv(256, 3, groups=groups)),                           ("pool5", MaxPool(3, 2)),
    )  # fmt: skip


TABLE = {
    "one-stream": _paper(groups=1),
    "grouped": _paper(groups=2),
    "caffenet": (  # pooling before normalization
        ("conv1", Conv(96, 11, stride=4, pad="valid")), ("pool1", MaxPool(3, 2)), ("norm1", CAFFE_LRN),
        ("conv2", Conv(256, 5, groups=2)),              ("pool2", MaxPool(3, 2)), ("norm2", CAFFE_LRN),
        ("conv3", Conv(384, 3)),
        ("conv4", Conv(384, 3, groups=2)),
        ("conv5", Conv(256, 3, groups=2)),              ("pool5", MaxPool(3, 2)),
    ),
    "torchvision": (  # Krizhevsky 2014, One weird trick
        ("conv1", Conv(64, 11, stride=4, pad=2)),       ("pool1", MaxPool(3, 2)),
        ("conv2", Conv(192, 5)),                        ("pool2", MaxPool(3, 2)),
        ("conv3", Conv(384, 3)),
        ("conv4", Conv(256, 3)),
        ("conv5", Conv(256, 3)),                        ("pool5", MaxPool(3, 2)),
    ),
}  # fmt: skip


def features(variant):
    yield from TABLE[variant]


def top(variant, classes):
    before = variant == "torchvision"  # drops the inputs of fc6 and fc7, the others their outputs
    yield "flatten", Flatten()
    for number in (6, 7):
        rows = ((f"drop{number}", Dropout(0.5)), (f"fc{number}", Dense(4096)))
        yield from rows if before else reversed(rows)
    yield "fc8", logits(classes)


def _net(variant, params, macs, memory, oracle, error, **known):
    first = "norm1" if variant == "caffenet" else "pool1"
    return Net(
        **{
            "variant": variant,
            "year": 2012,
            "source": "Krizhevsky et al. 2012, section 3.5",
            "oracle": oracle,
            "params": params,
            "macs": macs,
            "activation_bytes": memory,
            "error": error,
            "input_shape": (227, 227, 3),
            "pixels": "caffe",
            "options": Options(historic="gauss-0.01"),
            "stages": (
                ("conv1", first),
                ("conv2", first.replace("1", "2")),
                ("conv3", "conv3_act"),
                ("conv4", "conv4_act"),
                ("conv5", "pool5"),
            ),
            **known,
        }
    )


# fmt: off
NETS = {
    "alexnet": _net("one-stream", 62_378_344, 1_135_256_096, 5_653_388, "hand count, figure 2 without groups", None),
    "alexnet-grouped": _net("grouped", 60_965_224, 724_406_816, 5_653_388, "BVLC bvlc_alexnet prototxt",
                            "40.7 / 18.2 % (paper, 10 crops)"),
    "caffenet": _net("caffenet", 60_965_224, 724_406_816, 4_198_284, "BVLC caffenet prototxt",
                     "42.6 / 19.6 % (BVLC, centre crop)", source="BVLC Caffe, bvlc_reference_caffenet"),
    "alexnet-torchvision": _net("torchvision", 61_100_840, 714_188_480, 2_932_128, "torchvision alexnet",
                                "43.48 / 20.93 % (torchvision, centre crop)", year=2014, pixels="torch",
                                input_shape=(224, 224, 3), source="Krizhevsky 2014; torchvision"),
}
# fmt: on
