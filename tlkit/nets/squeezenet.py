"""SqueezeNet: Iandola et al. 2016, Table 1 (1.0) and the authors' repository (1.1)."""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import layers

from tlkit.nets._rows import Conv, Dropout, GlobalAvgPool, MaxPool
from tlkit.nets._spec import Net, Options


@dataclass(frozen=True)
class Fire:
    """1x1 to few maps, then 1x1 and 3x3 side by side. Fields: the columns of Table 1."""

    s1x1: int
    e1x1: int
    e3x3: int

    def __call__(self, x, name, options):
        x = Conv(self.s1x1, 1)(x, f"{name}_squeeze", options)
        wide = Conv(self.e1x1, 1)(x, f"{name}_expand1", options)
        tall = Conv(self.e3x3, 3)(x, f"{name}_expand3", options)
        return layers.Concatenate(name=name)([wide, tall])


POOL = MaxPool(3, 2, ceil=True)

# fmt: off
TABLE = {
    "1.0": (
        ("conv1", Conv(96, 7, 2, pad="valid")),
        ("pool1", POOL),
        #              s1x1  e1x1  e3x3
        ("fire2", Fire(  16,   64,   64)),
        ("fire3", Fire(  16,   64,   64)),
        ("fire4", Fire(  32,  128,  128)),
        ("pool4", POOL),
        ("fire5", Fire(  32,  128,  128)),
        ("fire6", Fire(  48,  192,  192)),
        ("fire7", Fire(  48,  192,  192)),
        ("fire8", Fire(  64,  256,  256)),
        ("pool8", POOL),
        ("fire9", Fire(  64,  256,  256)),
    ),
    "1.1": (
        ("conv1", Conv(64, 3, 2, pad="valid")),
        ("pool1", POOL),
        ("fire2", Fire(  16,   64,   64)),
        ("fire3", Fire(  16,   64,   64)),
        ("pool3", POOL),
        ("fire4", Fire(  32,  128,  128)),
        ("fire5", Fire(  32,  128,  128)),
        ("pool5", POOL),
        ("fire6", Fire(  48,  192,  192)),
        ("fire7", Fire(  48,  192,  192)),
        ("fire8", Fire(  64,  256,  256)),
        ("fire9", Fire(  64,  256,  256)),
    ),
}
# fmt: on


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to fire9."""
    yield from TABLE[variant]


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) to the logits: section 3.1, no dense layer, and a ReLU before the mean,
    so logits are never negative."""
    yield "drop9", Dropout(0.5)
    # The prototxt of 1.0 pads here, so that its map is 15x15; torchvision's and 1.1 do not.
    border = 1 if variant == "1.0" else "valid"
    yield "conv10", Conv(classes, 1, pad=border, norm=False, activation="relu")
    yield "pool10", GlobalAvgPool()


def _net(variant, params, macs, activations, stages):
    return Net(
        variant=variant,
        year=2016,
        source="Iandola et al. 2016, Table 1"
        if variant == "1.0"
        else "Iandola et al., SqueezeNet_v1.1",
        oracle="the authors' prototxt, torchvision",
        params=params,
        macs=macs,
        activation_bytes=activations,
        error="42.5 / 19.7 % (Iandola et al. 2016, Table 2)" if variant == "1.0" else None,
        input_shape=(227, 227, 3),
        pixels="caffe",
        options=Options(init="glorot"),
        stages=tuple((end.replace("pool", "to_pool"), end) for end in stages),
    )


NETS = {
    "squeezenet-1.0": _net(
        "1.0", 1_248_424, 861_339_936, 20_905_644, ("pool1", "pool4", "pool8", "fire9")
    ),
    "squeezenet-1.1": _net(
        "1.1", 1_235_496, 387_747_520, 13_079_692, ("pool1", "pool3", "pool5", "fire9")
    ),
}
