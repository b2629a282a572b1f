"""OverFeat: Sermanet et al. 2014, Table 1 (fast) and Table 3 (accurate)."""

from tlkit.nets._rows import Conv, Dense, Dropout, Flatten, MaxPool, logits
from tlkit.nets._spec import Net, Options


def _fast(filters):
    return (
        ("conv1", Conv(filters, 11, stride=4, pad="valid")), ("pool1", MaxPool(2)),
        ("conv2", Conv(256, 5, pad="valid")),                ("pool2", MaxPool(2)),
        ("conv3", Conv(512, 3)),
        ("conv4", Conv(1024, 3)),
        ("conv5", Conv(1024, 3)),                            ("pool5", MaxPool(2)),
    )  # fmt: skip


TABLE = {
    "fast": _fast(96),
    "fast-slim": _fast(64),
    "accurate": (
        ("conv1", Conv(96, 7, stride=2, pad="valid")),       ("pool1", MaxPool(3)),
        ("conv2", Conv(256, 7, pad="valid")),                ("pool2", MaxPool(2)),
        ("conv3", Conv(512, 3)),
        ("conv4", Conv(512, 3)),
        ("conv5", Conv(1024, 3)),
        ("conv6", Conv(1024, 3)),                            ("pool6", MaxPool(3)),
    ),
}  # fmt: skip

DENSE = {"fast": (3072, 4096), "fast-slim": (3072, 4096), "accurate": (4096, 4096)}


def features(variant):
    yield from TABLE[variant]


def top(variant, classes):
    first = 7 if variant == "accurate" else 6
    yield "flatten", Flatten()
    for number, units in enumerate(DENSE[variant], start=first):
        yield f"fc{number}", Dense(units)
        yield f"drop{number}", Dropout(0.5)
    yield f"fc{first + 2}", logits(classes)


def _stages(variant):
    last = {row.removeprefix("pool"): row for row, _ in TABLE[variant] if row.startswith("pool")}
    convs = [row for row, _ in TABLE[variant] if row.startswith("conv")]
    return tuple((conv, last.get(conv.removeprefix("conv"), f"{conv}_act")) for conv in convs)


def _net(variant, params, macs, memory, side, table, oracle):
    return Net(
        variant=variant,
        year=2013,
        source=f"Sermanet et al. 2014, {table}",
        oracle=oracle,
        params=params,
        macs=macs,
        activation_bytes=memory,
        input_shape=(side, side, 3),
        options=Options(historic="gauss-0.01"),
        stages=_stages(variant),
    )


# fmt: off
NETS = {
    "overfeat-fast": _net("fast", 145_920_872, 2_801_403_904, 4_537_580, 231, "Table 1", "hand count from Table 1"),
    "overfeat-fast-slim": _net("fast-slim", 145_704_424, 2_647_011_328, 4_035_820, 231, "Table 1, 64 filters in conv1",
                               "tensorflow/models slim overfeat.py"),
    "overfeat-accurate": _net("accurate", 144_656_488, 5_355_446_784, 9_618_700, 221, "Table 3", "hand count from Table 3"),
}
# fmt: on
