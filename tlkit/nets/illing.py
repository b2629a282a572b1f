"""Illing's net that shifts hardly disturb (EPFL lecture on inductive bias): pooling at stride 1.

Digits of 28 x 28 sit in an image of 40 x 40. Its counterpart pools at stride 2, and is otherwise
the same, weights included.
"""

from tlkit.nets._rows import Conv, Flatten, MaxPool, logits
from tlkit.nets._spec import Net

TABLE = {
    #          stride of convolution, of pooling
    "illing":       (2, 1),
    "illing-pool2": (1, 2),
}  # fmt: skip


def features(variant):
    stride, step = TABLE[variant]
    for number, filters in zip((1, 3, 5), (32, 64, 128), strict=True):
        yield f"conv{number}", Conv(filters, 3, stride, pad="valid")
        yield f"pool{number + 1}", MaxPool(2, step)
    yield "flatten", Flatten()


def top(variant, classes):
    yield "logits", logits(classes)


def _net(variant, params, macs, memory, oracle):
    return Net(
        variant=variant,
        year=2020,
        source="EPFL lecture, Inductive bias and CNNs",
        oracle=oracle,
        params=params,
        macs=macs,
        activation_bytes=memory,
        input_shape=(40, 40, 1),
        classes=10,
        pixels="unit",
        stages=(("conv1", "pool2"), ("conv3", "pool4"), ("conv5", "flatten")),
    )


# fmt: off
NETS = {
    "illing": _net("illing", 97_802, 1_952_288, 129_704,
                   "hand count 92,672 and 1,947,168 up to the 512 features; by hand: + 512 x 10 (+ 10)"),
    "illing-pool2": _net("illing-pool2", 104_202, 8_408_448, 350_888,
                         "by hand: 92,672 + 1152 x 10 + 10; 38² x 288 + 17² x 18,432 + 6² x 73,728 + 11,520"),
}
# fmt: on
