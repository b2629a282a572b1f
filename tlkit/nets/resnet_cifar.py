"""Residual and plain nets for CIFAR-10: He et al. 2016, Deep residual learning, section 4.2.

Depth 6n + 2: one 3x3 convolution, three groups of n pairs of them, one dense layer. A plain net
has the weights of the residual one with shortcuts of option A: only the sums are missing.
"""

from collections.abc import Iterator

from tlkit.nets._rows import Conv, GlobalAvgPool, logits
from tlkit.nets._spec import Net, Options
from tlkit.nets.resnet import Basic, stack

OPTIONS = Options(norm="batch", epsilon=1e-5, momentum=0.9)
WIDTHS = (16, 32, 64)

# fmt: off
TABLE = {
    #            block                      n: pairs of convolutions in each group
    "plain-20":  (Basic(shortcut="plain"),    3),
    "plain-32":  (Basic(shortcut="plain"),    5),
    "plain-44":  (Basic(shortcut="plain"),    7),
    "plain-56":  (Basic(shortcut="plain"),    9),
    "plain-110": (Basic(shortcut="plain"),   18),
    "20":        (Basic(shortcut="A"),        3),
    "32":        (Basic(shortcut="A"),        5),
    "44":        (Basic(shortcut="A"),        7),
    "56":        (Basic(shortcut="A"),        9),
    "110":       (Basic(shortcut="A"),       18),
    "1202":      (Basic(shortcut="A"),      200),
    "20-b":      (Basic(shortcut="B"),        3),
    "32-b":      (Basic(shortcut="B"),        5),
    "44-b":      (Basic(shortcut="B"),        7),
    "56-b":      (Basic(shortcut="B"),        9),
    "110-b":     (Basic(shortcut="B"),       18),
}
# fmt: on


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the 8x8 map (of a 32-pixel image)."""
    block, pairs = TABLE[variant]
    yield "conv1", Conv(WIDTHS[0], 3)
    for group, filters in enumerate(WIDTHS, start=2):
        yield from stack(block, f"conv{group}", filters, pairs, stride=1 if group == 2 else 2)


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    yield "pool", GlobalAvgPool()
    yield "fc", logits(classes)


def _stages(pairs):
    return (("conv1", "conv1_act"), *((f"conv{g}", f"conv{g}_{pairs}_act") for g in (2, 3, 4)))


def _statistics(block, pairs):
    """Moving mean and variance of 16 + 2n (16 + 32 + 64) channels, and of B's two projections."""
    return 2 * (16 + 224 * pairs + (96 if block.shortcut == "B" else 0))


_HAND = "hand count of section 4.2"
# fmt: off
_NUMBERS = {
    #             trainable   multiply-adds  activations  error on CIFAR-10
    "plain-20":  (269_722,       40_551_040,     766_248, None),
    "plain-32":  (464_154,       68_862_592,   1_225_000, None),
    "plain-44":  (658_586,       97_174_144,   1_683_752, None),
    "plain-56":  (853_018,      125_485_696,   2_142_504, None),
    "plain-110": (1_727_962,    252_887_680,   4_206_888, None),
    "20":        (269_722,       40_551_040,     790_824, "8.75 %"),
    "32":        (464_154,       68_862_592,   1_249_576, "7.51 %"),
    "44":        (658_586,       97_174_144,   1_708_328, "7.17 %"),
    "56":        (853_018,      125_485_696,   2_167_080, "6.97 %"),
    "110":       (1_727_962,    252_887_680,   4_231_464, "6.43 %"),
    "1202":      (19_421_274, 2_829_238_912,  45_977_896, "7.93 %"),
    # Option B adds two 1x1 projections: 16 * 32 * 256 + 32 * 64 * 64 = 262,144 multiply-adds.
    "20-b":      (272_474,       40_813_184,     815_400, None),
    "32-b":      (466_906,       69_124_736,   1_274_152, None),
    "44-b":      (661_338,       97_436_288,   1_732_904, None),
    "56-b":      (855_770,      125_747_840,   2_191_656, None),
    "110-b":     (1_730_714,    253_149_824,   4_256_040, None),
}
# fmt: on
NETS = {
    variant if variant.startswith("plain") else f"resnet-{variant}": Net(
        variant=variant,
        year=2015,
        source="He et al. 2016, Deep residual learning, section 4.2",
        oracle=_HAND,
        params=params,
        total=params + _statistics(*TABLE[variant]),
        macs=macs,
        activation_bytes=activations,
        error=error,
        input_shape=(32, 32, 3),
        classes=10,
        options=OPTIONS,
        stages=_stages(TABLE[variant][1]),
    )
    for variant, (params, macs, activations, error) in _NUMBERS.items()
}
