"""ZFNet: Zeiler and Fergus 2014, figure 3 and Table 2."""

from tlkit.nets._rows import LRN, Conv, Dense, Dropout, Flatten, MaxPool, logits
from tlkit.nets._spec import Net, Options

TABLE = {
    #        conv3 conv4 conv5
    "zfnet": (384,  384, 256),
    "wide":  (512, 1024, 512),
}  # fmt: skip


def features(variant):
    yield "conv1", Conv(96, 7, stride=2, pad=1)
    yield "pool1", MaxPool(3, 2, ceil=True)
    yield "norm1", LRN()
    yield "conv2", Conv(256, 5, stride=2, pad="valid")
    yield "pool2", MaxPool(3, 2, ceil=True)
    yield "norm2", LRN()
    for number, filters in enumerate(TABLE[variant], start=3):
        yield f"conv{number}", Conv(filters, 3)
    yield "pool5", MaxPool(3, 2, ceil=True)


def top(variant, classes):
    yield "flatten", Flatten()
    for number in (6, 7):
        yield f"fc{number}", Dense(4096)
        yield f"drop{number}", Dropout(0.5)
    yield "fc8", logits(classes)


def _net(variant, params, macs, memory):
    return Net(
        variant=variant,
        year=2013,
        source="Zeiler and Fergus 2014, figure 3",
        oracle="hand count from figure 3",
        params=params,
        macs=macs,
        activation_bytes=memory,
        pixels="caffe",
        options=Options(historic="gauss-0.01"),
        stages=(
            ("conv1", "norm1"),
            ("conv2", "norm2"),
            ("conv3", "conv3_act"),
            ("conv4", "conv4_act"),
            ("conv5", "pool5"),
        ),
    )


NETS = {
    "zfnet": _net("zfnet", 62_357_608, 1_168_032_896, 9_375_904),
    "zfnet-wide": _net("wide", 107_627_624, 2_476_704_896, 10_104_992),
}
