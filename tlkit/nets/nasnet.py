"""NASNet-A: Zoph et al. 2018, Learning transferable architectures, Figure 4 and Appendix A.

A cell reads the outputs (h, p) of the two cells before it and makes the next pair. Strides pad with
zeros, as the released weights need; SAME has the same counts and other outputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import layers

from tlkit.nets._rows import Activation, Conv, GlobalAvgPool, Norm, initializer, logits
from tlkit.nets._spec import Net, Options
from tlkit.nets.resnet import Bare, refuse_maxout

OPTIONS = Options(norm="batch", epsilon=1e-3, momentum=0.9997)

# A row adds two operations: left input, left operation, right input, right operation, name of the
# sum. "/2" is stride 2. h and p are the inputs after 1x1; CONCAT says what the cell gives on.
NORMAL = (
    ("h", "sep5", "p", "sep3", "1"),
    ("p", "sep5", "p", "sep3", "2"),
    ("h", "avg3", "p", "skip", "3"),
    ("p", "avg3", "p", "avg3", "4"),
    ("h", "sep3", "h", "skip", "5"),
)
REDUCTION = (
    ("h", "sep5/2", "p", "sep7/2", "1"),
    ("h", "max3/2", "p", "sep7/2", "2"),
    ("h", "avg3/2", "p", "sep5/2", "3"),
    ("1", "avg3", "2", "skip", "4"),
    ("1", "sep3", "h", "max3/2", "5"),
)
CONCAT = {NORMAL: ("p", "1", "2", "3", "4", "5"), REDUCTION: ("2", "3", "4", "5")}

# fmt: off
TABLE = {
    #          filters  cells in a row  stem  p past a reduction
    "mobile": (44,      4,              32,   "input"),
    "large":  (168,     6,              96,   "before"),
}
# fmt: on


@dataclass(frozen=True)
class Cell:
    """(h, p) -> (cell of both, h). `keep_p` hands the old p on: Large does so past reductions."""

    sums: tuple
    filters: int
    keep_p: bool = False

    def __call__(self, x, name, options):
        refuse_maxout(name, options)
        h, p = x if isinstance(x, tuple) else (x, None)
        states = {
            "p": h if p is None else adjust(p, h, self.filters, f"{name}_p", options),
            "h": squeeze(h, self.filters, f"{name}_h", options),
        }
        for left, first, right, second, label in self.sums:
            where = f"{name}_{label}"
            a = operation(states[left], first, self.filters, f"{where}_left", options)
            b = operation(states[right], second, self.filters, f"{where}_right", options)
            states[label] = layers.Add(name=where)([a, b])
        cell = layers.Concatenate(name=name)([states[label] for label in CONCAT[self.sums]])
        return cell, p if self.keep_p else h


@dataclass(frozen=True)
class Last:
    """Drops p and activates h."""

    def __call__(self, x, name, options):
        return Activation()(x[0], name, options)


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the last map: 7x7 (Mobile, 224 pixels), 11x11 (Large, 331)."""
    filters, count, stem, past = TABLE[variant]
    yield "stem", Conv(stem, 3, 2, pad="valid", activation="linear")
    yield "stem_1", Cell(REDUCTION, filters // 4)
    yield "stem_2", Cell(REDUCTION, filters // 2)
    for group, width in enumerate((filters, 2 * filters, 4 * filters), start=1):
        if group > 1:
            yield f"reduction_{group}", Cell(REDUCTION, width, keep_p=past == "before")
        for index in range(1, count + 1):
            yield f"normal_{group}_{index}", Cell(NORMAL, width)
    yield "last", Last()


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    yield "pool", GlobalAvgPool()
    yield "fc", logits(classes)


def operation(x, code: str, filters: int, name: str, options: Options):
    """Applies one operation of the table, such as "sep5/2", "max3", "skip"."""
    word, _, step = code.partition("/")
    if word == "skip":
        return x
    kind, size, stride = word[:3], int(word[3:]), int(step or 1)
    if kind == "sep":
        return separable(x, filters, size, stride, name, options)
    pool = layers.MaxPooling2D if kind == "max" else layers.AveragePooling2D
    x, padding = halved(x, size, stride, name)
    return pool(size, stride, padding=padding, name=name)(x)


def separable(x, filters: int, size: int, stride: int, name: str, options: Options, pad=None):
    """Activation, separable convolution, normalization; twice, the second time with stride 1.
    `pad`: (x, size, stride, name) -> (x, padding); `halved` if not given."""
    for number, step in ((1, stride), (2, 1)):
        x = Activation()(x, f"{name}_{number}", options)
        x, padding = (pad or halved)(x, size, step, f"{name}_{number}")
        x = layers.SeparableConv2D(
            filters,
            size,
            step,
            padding=padding,
            use_bias=options.norm in ("none", "weight"),
            depthwise_initializer=initializer(options),
            pointwise_initializer=initializer(options),
            name=f"{name}_{number}",
        )(x)
        x = Norm()(x, f"{name}_{number}", options)
    return x


def halved(x, size: int, stride: int, name: str):
    """Returns (x, padding): for stride 2 the zeros with which an odd window keeps ceil(n / 2)."""
    if stride == 1:
        return x, "same"
    sides = [(size // 2 - (n is not None and n % 2 == 0), size // 2) for n in x.shape[1:3]]
    return layers.ZeroPadding2D(tuple(sides), name=f"{name}_pad")(x), "valid"


def squeeze(x, filters: int, name: str, options: Options):
    """Activation, 1x1 convolution, normalization."""
    x = Activation()(x, f"{name}_0", options)
    return Conv(filters, 1, activation="linear")(x, name, options)


def adjust(p, h, filters: int, name: str, options: Options):
    """Brings p to the height and width of h, then to `filters` channels where it differs."""
    if p.shape[1:3] != h.shape[1:3]:
        return factorized(p, filters, name, options)
    return p if p.shape[-1] == filters else squeeze(p, filters, name, options)


def factorized(x, filters: int, name: str, options: Options):
    """Halves x without losing what stride 2 skips: a second 1x1 reads it shifted by one pixel."""
    x = Activation()(x, f"{name}_0", options)
    shifted = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    shifted = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(shifted)
    paths = []
    for number, (path, share) in enumerate(((x, filters // 2), (shifted, -(-filters // 2))), 1):
        path = layers.AveragePooling2D(1, 2, name=f"{name}_skip{number}")(path)
        paths.append(Bare(share, 1)(path, f"{name}_{number}", options))
    return Norm()(layers.Concatenate(name=name)(paths), name, options)


def _net(variant, params, total, macs, activations, size, error):
    return Net(
        variant=variant,
        year=2017,
        source="Zoph et al. 2018, Figure 4 and Table 2",
        oracle="keras.applications",
        params=params,
        total=total,
        macs=macs,
        activation_bytes=activations,
        error=error,
        input_shape=(size, size, 3),
        pixels="tf",
        options=OPTIONS,
        # Every cell reads the two before it, so nothing can be cut between the stem and the end.
        stages=(("stem", "stem"), ("cells", "last_act")),
    )


# fmt: off
NETS = {
    "nasnet-mobile": _net("mobile", 5_289_978, 5_326_716, 563_638_816, 24_643_916, 224, "25.6 / 8.1 % (keras.io)"),
    "nasnet-large": _net("large", 88_753_150, 88_949_818, 23_783_414_658, 267_928_708, 331, "17.5 / 4.0 % (keras.io)"),
}
# fmt: on
