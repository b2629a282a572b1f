"""AmoebaNet-A: Real et al. 2019, Regularized evolution for image classifier architecture search.

Cells as in the authors' TPU code, SAME padding and all. It cannot build F = 190, whose stem has 95
filters to split in two; here the two halves have 47 and 48. Scheduled drop path is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import layers

from tlkit.nets._rows import Activation, Conv, Dropout, GlobalAvgPool, logits
from tlkit.nets._spec import Net, Options
from tlkit.nets.nasnet import Last, adjust, separable, squeeze
from tlkit.nets.resnet import refuse_maxout

OPTIONS = Options(norm="batch", epsilon=1e-3, momentum=0.9997)

# Left input, left operation, right input, right operation, name of the sum; "/2" is stride 2,
# "fac7" a 1x7 and a 7x1 between two 1x1.
NORMAL = (
    ("h", "avg3", "h", "max3", "1"),
    ("p", "sep3", "p", "skip", "2"),
    ("h", "skip", "p", "avg3", "3"),
    ("h", "sep3", "1", "sep5", "4"),
    ("4", "avg3", "h", "sep3", "5"),
)
REDUCTION = (
    ("p", "sep3/2", "h", "avg3/2", "1"),
    ("h", "max3/2", "1", "sep7", "2"),
    ("p", "max3/2", "h", "max3/2", "3"),
    ("3", "sep3", "h", "fac7/2", "4"),
    ("p", "avg3/2", "h", "sep7/2", "5"),
)
CONCAT = {NORMAL: ("p", "2", "3", "5"), REDUCTION: ("1", "2", "3", "4", "5")}

# fmt: off
TABLE = {
    #           filters F  cells N  stem
    "n6-f190": (190,       6,       32),
}
# fmt: on


@dataclass(frozen=True)
class Cell:
    """(h, p) -> (cell of both, h)."""

    sums: tuple
    filters: int

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
        return layers.Concatenate(name=name)([states[label] for label in CONCAT[self.sums]]), h


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the 11x11 map (of a 331-pixel image)."""
    filters, count, stem = TABLE[variant]
    yield "stem", Conv(stem, 3, 2, pad="valid", activation="linear")
    yield "stem_1", Cell(REDUCTION, filters // 4)
    yield "stem_2", Cell(REDUCTION, filters // 2)
    for group, width in enumerate((filters, 2 * filters, 4 * filters), start=1):
        if group > 1:
            yield f"reduction_{group}", Cell(REDUCTION, width)
        for index in range(1, count + 1):
            yield f"normal_{group}_{index}", Cell(NORMAL, width)
    yield "last", Last()


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    yield "pool", GlobalAvgPool()
    yield "drop", Dropout(0.5)
    yield "fc", logits(classes)


def operation(x, code: str, filters: int, name: str, options: Options):
    """Applies one operation of the table; a pool is brought to `filters` channels by a 1x1."""
    word, _, step = code.partition("/")
    if word == "skip":
        return x
    kind, size, stride = word[:3], int(word[3:]), int(step or 1)
    if kind == "sep":
        return separable(x, filters, size, stride, name, options, pad=same)
    if kind == "fac":
        return factored(x, filters, size, stride, name, options)
    pool = layers.MaxPooling2D if kind == "max" else layers.AveragePooling2D
    channels = x.shape[-1]
    x = pool(size, stride, padding="same", name=name)(x)
    linear = Conv(filters, 1, activation="linear")
    return x if channels == filters else linear(x, f"{name}_to", options)


def same(x, size: int, stride: int, name: str):
    """Returns (x, "same"): the authors' padding."""
    return x, "same"


def factored(x, filters: int, size: int, stride: int, name: str, options: Options):
    """1 x size and size x 1 on a quarter of the filters, between two 1x1."""
    narrow = filters // 4
    x = Activation()(x, f"{name}_0", options)
    x = Conv(narrow, 1)(x, f"{name}_1", options)
    x = Conv(narrow, (1, size), (1, stride))(x, f"{name}_2", options)
    x = Conv(narrow, (size, 1), (stride, 1))(x, f"{name}_3", options)
    return Conv(filters, 1, activation="linear")(x, f"{name}_4", options)


def _net(variant, params, total, macs, activations):
    return Net(
        variant=variant,
        year=2018,
        source="Real et al. 2019, Figure 5 and Table 2",
        oracle="closed form in tests/test_nets_amoebanet.py",
        params=params,
        total=total,
        macs=macs,
        activation_bytes=activations,
        input_shape=(331, 331, 3),
        pixels="tf",
        options=OPTIONS,
        stages=(("stem", "stem"), ("cells", "last_act")),
    )


NETS = {
    "amoebanet-a": _net("n6-f190", 86_718_797, 86_908_673, 23_133_663_507, 281_075_492),
}
