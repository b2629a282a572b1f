"""The max-pooling net of the dropout paper: Srivastava et al. 2014, appendix B.2 (SVHN, CIFAR)."""

from tlkit.nets._rows import Conv, Dense, Dropout, Flatten, MaxPool, logits
from tlkit.nets._spec import Net, Options

# The paper prints the share kept: 0.9, 0.75, 0.75, 0.5, 0.5, 0.5.
TABLE = {
    # dropped from: pixels  pool1  pool2  pool3  fc4  fc5
    "none":         (0.0,   0.0,   0.0,   0.0,   0.0, 0.0),
    "dense":        (0.0,   0.0,   0.0,   0.0,   0.5, 0.5),
    "all":          (0.1,   0.25,  0.25,  0.5,   0.5, 0.5),
}  # fmt: skip
FILTERS = (96, 128, 256)
UNITS = 2048


def features(variant):
    pixels, *rates = TABLE[variant]
    yield "drop0", Dropout(pixels)
    for number, (filters, rate) in enumerate(zip(FILTERS, rates, strict=False), start=1):
        yield f"conv{number}", Conv(filters, 5)
        yield f"pool{number}", MaxPool(3, 2, ceil=True)
        yield f"drop{number}", Dropout(rate)
    yield "flatten", Flatten()
    for number, rate in enumerate(rates[3:], start=4):
        yield f"fc{number}", Dense(UNITS)
        yield f"drop{number}", Dropout(rate)


def top(variant, classes):
    yield "logits", logits(classes)


def _net(variant, year, error):
    return Net(
        variant=variant,
        year=year,
        source="Srivastava et al. 2014, appendix B.2",
        oracle="by hand: 75 x 96 + 96, 2400 x 128 + 128, 3200 x 256 + 256, "
        "4096 x 2048 + 2048, 2048 x 2048 + 2048, 2048 x 10 + 10",
        params=13_741_578,
        macs=151_048_192,
        activation_bytes=765_992,
        error=error,
        input_shape=(32, 32, 3),
        classes=10,
        options=Options(historic="gauss-0.01"),
        stages=tuple((name, name.replace(*pair)) for name, pair in _BLOCKS),
    )


_BLOCKS = tuple((f"conv{i}", ("conv", "drop")) for i in (1, 2, 3)) + tuple(
    (f"fc{i}", ("fc", "drop")) for i in (4, 5)
)

NETS = {
    "maxpool": _net("none", 2013, "3.95 % SVHN, 15.60 % CIFAR-10 (lecture)"),
    "maxpool-dropout-dense": _net("dense", 2014, "3.02 % SVHN, 14.32 % CIFAR-10 (lecture)"),
    "maxpool-dropout": _net("all", 2014, "2.55 % SVHN, 12.61 % CIFAR-10 (lecture)"),
}
