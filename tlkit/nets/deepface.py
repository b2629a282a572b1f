"""DeepFace: Taigman et al. 2014, figure 2.

C is a convolution, M a pooling, L a locally connected and F a dense layer.
"""

from dataclasses import dataclass

from tlkit import layers as own
from tlkit.nets._rows import (
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    finish,
    initializer,
    logits,
    widened,
)
from tlkit.nets._spec import Net, Options


@dataclass(frozen=True)
class Local:
    """Locally connected layer, no padding: a filter bank of its own at every place."""

    filters: int
    size: int
    stride: int = 1
    norm: bool = True
    activation: str | None = None

    def __call__(self, x, name, options):
        filters = widened(self.filters, self.activation, options)
        layer = own.LocallyConnected2D(
            filters, self.size, self.stride, initializer(options), name=name
        )
        return finish(layer, x, self, options)


TABLE = {
    "deepface": (
        ("c1", Conv(32, 11, pad="valid")),
        ("m2", MaxPool(3, 2, ceil=True)),
        ("c3", Conv(16, 9, pad="valid")),
        ("l4", Local(16, 9)),
        ("l5", Local(16, 7, stride=2)),
        ("l6", Local(16, 5)),
        ("flatten", Flatten()),
        ("f7", Dense(4096)),
        ("drop7", Dropout(0.5)),
    ),
}


def features(variant):
    yield from TABLE[variant]


def top(variant, classes):
    yield "f8", logits(classes)


NETS = {
    "deepface": Net(
        variant="deepface",
        year=2014,
        source="Taigman et al. 2014, figure 2",
        oracle="hand count from figure 2",
        params=118_923_774,
        macs=517_624_448,
        activation_bytes=4_051_832,
        error="2.65 % LFW, ensemble (lecture)",
        input_shape=(152, 152, 3),
        classes=4030,
        pixels="unit",
        options=Options(historic="gauss-0.01"),
        stages=(
            ("c1", "m2"),
            ("c3", "c3_act"),
            ("l4", "l4_act"),
            ("l5", "l5_act"),
            ("l6", "l6_act"),
            ("f7", "drop7"),
        ),
    )
}
