"""Dense nets on pixels: a linear softmax and multi-layer perceptrons, the lectures' first rungs."""

from tlkit.nets._rows import Dense, Dropout, Flatten, logits
from tlkit.nets._spec import Net

TABLE = {
    #            hidden units  share dropped after each
    "linear":      ((),         0.0),
    "mlp":         ((512, 512), 0.0),
    "mlp-dropout": ((512, 512), 0.2),
}  # fmt: skip


def features(variant):
    hidden, rate = TABLE[variant]
    yield "flatten", Flatten()
    for number, units in enumerate(hidden, start=1):
        yield f"fc{number}", Dense(units, norm=True)
        if rate:
            yield f"drop{number}", Dropout(rate)


def top(variant, classes):
    yield "logits", logits(classes)


def _net(variant, params, macs, oracle, **known):
    return Net(
        variant=variant,
        source="lecture ladder on MNIST",
        oracle=oracle,
        params=params,
        macs=macs,
        input_shape=(28, 28, 1),
        classes=10,
        pixels="unit",
        **known,
    )


_MLP = (669_706, 668_672, "by hand: 784 x 512 + 512, 512 x 512 + 512, 512 x 10 + 10")

NETS = {
    "linear": _net(
        "linear", 7_850, 7_840, "by hand: 784 x 10 + 10", year=1958, activation_bytes=3_176,
        error="8 % MNIST (lecture)", stages=(("pixels", "flatten"),),
    ),
    "mlp": _net(
        "mlp", *_MLP, year=1986, activation_bytes=7_272,
        error="2 % MNIST (lecture)", stages=(("fc1", "fc1_act"), ("fc2", "fc2_act")),
    ),
    "mlp-dropout": _net(
        "mlp-dropout", *_MLP, year=2014, activation_bytes=7_272,
        stages=(("fc1", "drop1"), ("fc2", "drop2")),
    ),
}  # fmt: skip
