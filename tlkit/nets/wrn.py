"""Wide residual networks for CIFAR: Zagoruyko and Komodakis 2016, Table 1.

WRN-d-k: depth d = 6n + 4, k times the filters of the pre-activation ResNet.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import layers

from tlkit.nets._rows import Conv, GlobalAvgPool, logits
from tlkit.nets._spec import Net, Options
from tlkit.nets.resnet import Bare, Preactivation, preactivate

OPTIONS = Options(norm="batch", epsilon=1e-5, momentum=0.9)
WIDTHS = (16, 32, 64)

# fmt: off
TABLE = {
    #         n  k
    "16-4":  (2, 4),
    "28-4":  (4, 4),
    "28-10": (4, 10),
    "40-4":  (6, 4),
}
# fmt: on


@dataclass(frozen=True)
class Wide:
    """B(3,3): normalization and activation, then 3x3, twice. A projecting shortcut reads the
    activated input, as in the authors' code."""

    filters: int
    stride: int = 1

    def __call__(self, x, name, options):
        y = preactivate(x, f"{name}_0", options)
        if x.shape[-1] != self.filters or self.stride > 1:
            x = Bare(self.filters, 1, self.stride)(y, f"{name}_shortcut", options)
        y = Conv(self.filters, 3, self.stride, pad=1)(y, f"{name}_1", options)
        y = Bare(self.filters, 3)(y, f"{name}_2", options)
        return layers.Add(name=name)([x, y])


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the 8x8 map (of a 32-pixel image)."""
    count, widening = TABLE[variant]
    yield "conv1", Bare(16, 3)
    for group, width in enumerate(WIDTHS, start=2):
        for index in range(1, count + 1):
            stride = 2 if index == 1 and group > 2 else 1
            yield f"conv{group}_{index}", Wide(widening * width, stride)
    yield "post", Preactivation()


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    yield "pool", GlobalAvgPool()
    yield "fc", logits(classes)


def _net(variant, params, total, macs, activations, oracle):
    count, _ = TABLE[variant]
    return Net(
        variant=variant,
        year=2016,
        source="Zagoruyko and Komodakis 2016, Table 1",
        oracle=oracle,
        params=params,
        total=total,
        macs=macs,
        activation_bytes=activations,
        input_shape=(32, 32, 3),
        classes=10,
        options=OPTIONS,
        stages=(
            ("conv1", "conv1"),
            *((f"conv{group}", f"conv{group}_{count}") for group in (2, 3)),
            ("conv4", "post_act"),
        ),
    )


# The hand count leaves out the dense layer, 640 k multiply-adds.
NETS = {
    "wrn-16-4": _net("16-4", 2_748_890, 2_752_506, 392_609_792 + 2_560, 2_372_648, "hand count"),
    "wrn-28-4": _net("28-4", 5_849_050, 5_856_250, 845_594_624 + 2_560, 4_207_656, "hand count"),
    "wrn-28-10": _net(
        "28-10", 36_479_194, 36_497_146, 5_243_322_368 + 6_400, 10_402_344, "hand count"
    ),
    "wrn-40-4": _net(
        "40-4",
        8_949_210,
        8_959_994,
        1_298_582_016,
        6_042_664,
        "closed form in tests/test_nets_resnet.py",
    ),
}
