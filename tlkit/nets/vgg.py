"""VGG: Simonyan and Zisserman 2015, Very deep convolutional networks, Table 1."""

from tlkit.nets._rows import LRN, Conv, Dense, Dropout, Flatten, MaxPool, logits
from tlkit.nets._spec import Net, Options


def conv1(filters):
    return Conv(filters, 1, bias=True)


# A plain number is a 3x3 convolution.
TABLE = {
    #         conv1          conv2         conv3                       conv4                       conv5
    "a":     ((64,),        (128,),       (256, 256),                 (512, 512),                 (512, 512)),
    "a-lrn": ((64, LRN()),  (128,),       (256, 256),                 (512, 512),                 (512, 512)),
    "b":     ((64, 64),     (128, 128),   (256, 256),                 (512, 512),                 (512, 512)),
    "c":     ((64, 64),     (128, 128),   (256, 256, conv1(256)),     (512, 512, conv1(512)),     (512, 512, conv1(512))),
    "d":     ((64, 64),     (128, 128),   (256, 256, 256),            (512, 512, 512),            (512, 512, 512)),
    "e":     ((64, 64),     (128, 128),   (256, 256, 256, 256),       (512, 512, 512, 512),       (512, 512, 512, 512)),
}  # fmt: skip

# The paper trained A from N(0, 0.01) and grew the others from it; its final version says that
# Glorot's rule makes that needless (section 3.1).
HISTORIC = Options(init="glorot", historic="gauss-0.01")
STAGES = tuple((f"block{i}", f"pool{i}") for i in range(1, 6))


def features(variant):
    for number, block in enumerate(TABLE[variant], start=1):
        for index, row in enumerate(block, start=1):
            if isinstance(row, int):
                yield (
                    f"conv{number}_{index}",
                    Conv(row, 3, bias=True),
                )  # torchvision keeps it before BatchNorm
            else:
                yield f"{'conv' if isinstance(row, Conv) else 'lrn'}{number}_{index}", row
        yield f"pool{number}", MaxPool(2)


def top(variant, classes):
    yield "flatten", Flatten()
    yield "fc6", Dense(4096)
    yield "drop6", Dropout(0.5)
    yield "fc7", Dense(4096)
    yield "drop7", Dropout(0.5)
    yield "fc8", logits(classes)


def _net(variant, params, macs, memory, oracle, error=None, **known):
    return Net(
        variant=variant,
        year=2014,
        source="Simonyan and Zisserman 2015, Table 1",
        oracle=oracle,
        params=params,
        macs=macs,
        activation_bytes=memory,
        error=error,
        stages=STAGES,
        **{"options": HISTORIC, "pixels": "caffe", **known},
    )


def _with_norm(variant, params, total, macs, memory):
    options = Options(norm="batch", historic="gauss-0.01", epsilon=1e-5, momentum=0.9)
    return _net(
        variant, params, macs, memory, "torchvision", total=total, options=options, pixels="torch"
    )


BOTH = "torchvision and keras.applications"
HAND = "hand count from Table 1"

# fmt: off
NETS = {
    "vgg-a": _net("a", 132_863_336, 7_609_090_048, 36_464_544, "torchvision vgg11", "30.98 / 11.37 % (torchvision, centre crop)"),
    "vgg-a-lrn": _net("a-lrn", 132_863_336, 7_609_090_048, 49_309_600, "torchvision vgg11; LRN has no weights"),
    "vgg-b": _net("b", 133_047_848, 11_308_466_176, 55_732_128, HAND, "30.07 / 10.75 % (torchvision, centre crop)"),
    "vgg-c": _net("c", 133_638_952, 11_770_888_192, 60_950_432, HAND),
    "vgg-d": _net("d", 138_357_544, 15_470_264_320, 60_950_432, BOTH, "28.41 / 9.62 % (torchvision, centre crop)"),
    "vgg-e": _net("e", 143_667_240, 19_632_062_464, 66_168_736, BOTH, "27.62 / 9.12 % (torchvision, centre crop)"),
    "vgg-a-bn": _with_norm("a", 132_868_840, 132_874_344, 7_609_090_048, 36_464_544),
    "vgg-d-bn": _with_norm("d", 138_365_992, 138_374_440, 15_470_264_320, 60_950_432),
    "vgg-e-bn": _with_norm("e", 143_678_248, 143_689_256, 19_632_062_464, 66_168_736),
}
# fmt: on
