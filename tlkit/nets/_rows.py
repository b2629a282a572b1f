"""The rows that tables are made of. A row applies itself: `row(x, name, options) -> x`.

The layer that holds the weights is named as its row; `_pad`, `_norm` and `_act` are appended for
the layers around it, so that names do not depend on the options.
"""

from dataclasses import dataclass
from math import gcd, prod

from keras import initializers, layers

from tlkit import layers as own
from tlkit.errors import TlkitError
from tlkit.nets._spec import Options

INITIALIZERS = {
    "he": lambda: initializers.HeNormal(),
    "glorot": lambda: initializers.GlorotUniform(),
    "zeros": lambda: initializers.Zeros(),
    "gauss-0.01": lambda: initializers.RandomNormal(stddev=0.01),
    "lecun-2.4": lambda: own.FanInUniform(2.4),
}
MAXOUT_PIECES = 2


def initializer(options: Options) -> initializers.Initializer:
    """Returns a new initializer; Keras warns when one unseeded instance serves two weights."""
    return INITIALIZERS[options.historic if options.init == "historic" else options.init]()


@dataclass(frozen=True)
class Norm:
    """The normalization of the options. Does nothing for "none" and "weight"."""

    def __call__(self, x, name, options):
        layer = _norm(x, f"{name}_norm", options)
        return layer(x) if layer else x


@dataclass(frozen=True)
class Activation:
    """The activation of the options, or `kind` if given; "linear" adds no layer."""

    kind: str | None = None

    def __call__(self, x, name, options):
        layer = _activation(f"{name}_act", self.kind or options.activation)
        return layer(x) if layer else x


@dataclass(frozen=True)
class Conv:
    """Convolution, normalization, activation. `pad`: "same", "valid", zeros on every side, or
    ((top, bottom), (left, right))."""

    filters: int
    size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    pad: str | int | tuple = "same"
    groups: int = 1
    norm: bool = True
    activation: str | None = None
    bias: bool | None = None  # None: unless a normalization with its own shift follows

    def __call__(self, x, name, options):
        x, padding = pad(x, self.pad, name)
        layer = layers.Conv2D(
            widened(self.filters, self.activation, options),
            self.size,
            self.stride,
            padding=padding,
            groups=self.groups,
            use_bias=has_bias(self, options),
            kernel_initializer=initializer(options),
            name=name,
        )
        return finish(layer, x, self, options)


@dataclass(frozen=True)
class Dense:
    """Dense layer, normalization if asked, activation."""

    units: int
    norm: bool = False
    activation: str | None = None
    bias: bool | None = None

    def __call__(self, x, name, options):
        layer = layers.Dense(
            widened(self.units, self.activation, options),
            use_bias=has_bias(self, options),
            kernel_initializer=initializer(options),
            name=name,
        )
        return finish(layer, x, self, options)


def logits(classes: int) -> Dense:
    """Returns the last row of most nets."""
    return Dense(classes, activation="linear")


@dataclass(frozen=True)
class MaxPool:
    """`ceil`: a last window may hang over the border (Caffe), instead of being dropped."""

    size: int
    stride: int | None = None
    pad: str | int | tuple = "valid"
    ceil: bool = False

    def __call__(self, x, name, options):
        if self.ceil:
            return own.CeilMaxPool2D(self.size, self.stride, padding=self.pad, name=name)(x)
        x, padding = pad(x, self.pad, name)
        return layers.MaxPooling2D(self.size, self.stride, padding=padding, name=name)(x)


@dataclass(frozen=True)
class AvgPool:
    """Zeros of an explicit `pad` count as values, those of "same" do not."""

    size: int
    stride: int | None = None
    pad: str | int | tuple = "valid"
    ceil: bool = False

    def __call__(self, x, name, options):
        if self.ceil:
            return own.CeilAveragePool2D(self.size, self.stride, padding=self.pad, name=name)(x)
        x, padding = pad(x, self.pad, name)
        return layers.AveragePooling2D(self.size, self.stride, padding=padding, name=name)(x)


@dataclass(frozen=True)
class GlobalAvgPool:
    def __call__(self, x, name, options):
        return layers.GlobalAveragePooling2D(name=name)(x)


@dataclass(frozen=True)
class Flatten:
    def __call__(self, x, name, options):
        return layers.Flatten(name=name)(x)


@dataclass(frozen=True)
class Dropout:
    """`rate` is the share dropped; papers that print the share kept say so in their table."""

    rate: float

    def __call__(self, x, name, options):
        return layers.Dropout(self.rate, name=name)(x)


@dataclass(frozen=True)
class LRN:
    """Local response normalization, with the constants of Krizhevsky et al. 2012, section 3.3."""

    size: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75

    def __call__(self, x, name, options):
        return own.LocalResponseNormalization(self.size, self.k, self.alpha, self.beta, name=name)(
            x
        )


def pad(x, padding, name):
    """Returns (x, the padding that is left for the layer): explicit zeros become a layer."""
    if isinstance(padding, str):
        return x, padding
    if padding == 0:
        return x, "valid"
    return layers.ZeroPadding2D(padding, name=f"{name}_pad")(x), "valid"


def has_bias(row, options: Options) -> bool:
    """True if the row's `bias` asks for one or, undecided, no normalization shifts after it."""
    return (
        not (row.norm and options.norm not in ("none", "weight")) if row.bias is None else row.bias
    )


def widened(units: int, activation: str | None, options: Options) -> int:
    """Maxout leaves one output of every MAXOUT_PIECES."""
    return units * (MAXOUT_PIECES if (activation or options.activation) == "maxout" else 1)


def finish(layer, x, row, options: Options):
    """Applies `layer`, then the normalization (where `row.norm`) and the activation of the row."""
    name = layer.name
    if row.norm and options.norm == "weight":
        layer = own.WeightNormalization(layer, name=name)
    x = layer(x)
    x = Norm()(x, name, options) if row.norm else x
    return Activation(row.activation)(x, name, options)


def _norm(x, name, options):
    shift = {"epsilon": options.epsilon, "scale": options.scale, "name": name}
    if options.norm == "batch":
        return layers.BatchNormalization(momentum=options.momentum, **shift)
    if options.norm in ("none", "weight"):
        return None
    if len(x.shape) == 2 and options.norm == "layer":
        return layers.LayerNormalization(**shift)
    if options.norm == "instance" and prod(size or 2 for size in x.shape[1:-1]) == 1:
        raise TlkitError(
            f"Instance normalization of {name!r} would be zero everywhere: each channel has one "
            "value. Choose norm='group' or 'layer', or a larger input_shape."
        )
    groups = {"layer": 1, "group": gcd(32, x.shape[-1]), "instance": x.shape[-1]}
    return layers.GroupNormalization(groups[options.norm], **shift)


def _activation(name, kind):
    if kind == "linear":
        return None
    if kind == "maxout":
        return own.Maxout(MAXOUT_PIECES, name=name)
    if kind == "leaky":
        return layers.LeakyReLU(negative_slope=0.1, name=name)
    if kind == "scaled-tanh":
        return own.ScaledTanh(name=name)
    return layers.Activation(kind, name=name)
