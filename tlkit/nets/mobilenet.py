"""MobileNet: Howard et al. 2017, Table 1. MobileNetV2: Sandler et al. 2018, Table 2.

Padding as in keras.applications: v1 puts the zeros of a stride below and right, v2 around.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import layers

from tlkit.nets._rows import (
    Activation,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Norm,
    initializer,
    logits,
    pad,
)
from tlkit.nets._spec import Net, Options
from tlkit.nets.nasnet import halved


@dataclass(frozen=True)
class Depthwise:
    """A 3x3 filter for each channel, normalization, activation. It has no weights to normalize
    per output, so "weight" leaves it alone."""

    stride: int = 1
    below: bool = False  # zeros below and right of the map, not around

    def __call__(self, x, name, options):
        if self.below and self.stride > 1:
            x, padding = pad(x, ((0, 1), (0, 1)), name)
        else:
            x, padding = halved(x, 3, self.stride, name)
        x = layers.DepthwiseConv2D(
            3,
            self.stride,
            padding=padding,
            use_bias=options.norm in ("none", "weight"),
            depthwise_initializer=initializer(options),
            name=name,
        )(x)
        return Activation()(Norm()(x, name, options), name, options)


@dataclass(frozen=True)
class Separable:
    """v1, Figure 3: depthwise, then 1x1, both normalized and activated."""

    filters: int
    stride: int = 1

    def __call__(self, x, name, options):
        x = Depthwise(self.stride, below=True)(x, f"{name}_dw", options)
        return Conv(self.filters, 1)(x, name, options)


@dataclass(frozen=True)
class Inverted:
    """v2, Table 1: 1x1 to t times the channels, depthwise, linear 1x1; the narrow ends are added
    where their shapes are equal."""

    t: int
    filters: int
    stride: int = 1

    def __call__(self, x, name, options):
        y = x
        if self.t > 1:
            y = Conv(self.t * x.shape[-1], 1)(y, f"{name}_expand", options)
        y = Depthwise(self.stride)(y, f"{name}_dw", options)
        y = Conv(self.filters, 1, activation="linear")(y, f"{name}_project", options)
        if self.stride > 1 or x.shape[-1] != self.filters:
            return y
        return layers.Add(name=name)([x, y])


@dataclass(frozen=True)
class Pixel:
    """The mean over the map as a map of one pixel: v1 ends in a 1x1 convolution."""

    def __call__(self, x, name, options):
        return layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)


# fmt: off
V1 = (  # filters, stride of the depthwise layer
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)
V2 = (
    # t    c  n  s
    (1,   16, 1, 1),
    (6,   24, 2, 2),
    (6,   32, 3, 2),
    (6,   64, 4, 2),
    (6,   96, 3, 1),
    (6,  160, 3, 2),
    (6,  320, 1, 1),
)
# fmt: on
TABLE = {"v1": V1, "v2": V2}


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the 7x7 map (of a 224-pixel image)."""
    yield "conv1", Conv(32, 3, 2)
    if variant == "v1":
        for number, (filters, stride) in enumerate(V1, start=1):
            yield f"block{number}", Separable(filters, stride)
        return
    for group, (t, filters, count, stride) in enumerate(V2, start=1):
        for index in range(1, count + 1):
            yield f"block{group}_{index}", Inverted(t, filters, stride if index == 1 else 1)
    yield "conv2", Conv(1280, 1)


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    if variant == "v2":
        yield "pool", GlobalAvgPool()
        yield "fc", logits(classes)
        return
    yield "pool", Pixel()
    yield "drop", Dropout(1e-3)
    yield "fc", Conv(classes, 1, norm=False, activation="linear")
    yield "flatten", Flatten()


_STAGES = {
    "v1": ("block1_act", "block3_act", "block5_act", "block11_act", "block13_act"),
    "v2": ("conv1_act", "block2_2", "block3_3", "block5_3", "conv2_act"),
}
_NAMES = ("map112", "map56", "map28", "map14", "map7")


def _net(variant, numbers, error, momentum, **known):
    params, total, macs, activations = numbers
    return Net(
        variant=variant,
        oracle="keras.applications",
        params=params,
        total=total,
        macs=macs,
        activation_bytes=activations,
        error=error,
        pixels="tf",
        options=Options(norm="batch", activation="relu6", momentum=momentum),
        stages=tuple(zip(_NAMES, _STAGES[variant], strict=True)),
        **known,
    )


# fmt: off
NETS = {
    "mobilenet-v1": _net("v1", (4_231_976, 4_253_864, 568_740_352, 20_780_960), "29.6 / 10.5 % (keras.io)", 0.99,
        year=2017, source="Howard et al. 2017, MobileNets, Table 1"),
    "mobilenet-v2": _net("v2", (3_504_872, 3_538_984, 300_774_272, 27_323_680), "28.7 / 9.9 % (keras.io)", 0.999,
        year=2018, source="Sandler et al. 2018, MobileNetV2, Table 2"),
}
# fmt: on
