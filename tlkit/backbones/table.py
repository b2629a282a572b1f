"""The pretrained backbones: one row for every network of `keras.applications`.

Stages follow the stride, as the C1..C5 of detection papers do: stage1 is the stem, stage5 ends at
the output, and in between a new stage starts where the feature map has shrunk by two. Each ends
where exactly one tensor crosses. In a NASNet every cell reads the two cells before it, so there is
no such place inside; it has two stages.

Operations named by Keras's counter ("add_12") are safe here because `tlkit.backbones.loading` builds every
network with the counter at zero.
"""

# ruff: noqa: E501
import re
from dataclasses import dataclass, replace
from typing import Any

from tlkit.errors import unknown


@dataclass(frozen=True)
class Spec:
    """One row of the table. Numbers are those of keras.applications 3.15.1, without top."""

    name: str
    constructor: str  # attribute of keras.applications
    size: int  # pixels per side, as in the paper
    preprocessing: str  # a key of tlkit.backbones.preprocess.KINDS
    parameters: int  # at three channels, with all that is not trainable, as Keras counts
    feature_channels: int
    boundaries: tuple[str, ...]  # last operation of each stage
    arguments: tuple[tuple[str, Any], ...] = ()  # for the constructor
    inside: int = 0  # parameters of in-model normalization that move to our layer, see `backbones.build_network`

    @property
    def stages(self) -> tuple[tuple[str, str], ...]:
        """(name, last operation) of each stage, in order of depth."""
        return tuple((f"stage{i}", name) for i, name in enumerate(self.boundaries, 1))


def _resnet(conv2: int, conv3: int, conv4: int, end: str = "conv5_block3_out") -> tuple[str, ...]:
    blocks = (("conv2", conv2), ("conv3", conv3), ("conv4", conv4))
    return ("pool1_pool", *(f"{conv}_block{n}_out" for conv, n in blocks), end)


def _efficientnet(last: str, first: str = "") -> tuple[str, ...]:
    """`last`: the letters of the last blocks of groups 1, 2, 3 and 5; strides 2, 4, 8 and 16."""
    ends = [f"block{group}{letter}_add" for group, letter in zip("1235", last, strict=True)]
    return (first or ends[0], *ends[1:], "top_activation")


def _convnext(variant: str, *adds: int) -> tuple[str, ...]:
    return (f"convnext_{variant}_stem", *(f"add_{n}" for n in adds), "layer_normalization")


_DENSENET = ("pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu")
_VGG = tuple(f"block{n}_pool" for n in range(1, 6))
_MOBILENET = tuple(f"conv_pw_{n}_relu" for n in (1, 3, 5, 11, 13))
_MOBILENET_V2 = (
    "expanded_conv_project_BN",
    "block_2_add",
    "block_5_add",
    "block_12_add",
    "out_relu",
)
_SMALL = (
    "activation",
    *(f"expanded_conv_{n}" for n in ("project_bn", "2_add", "7_add")),
    "activation_17",
)
_LARGE = ("expanded_conv_add", *(f"expanded_conv_{n}_add" for n in (2, 5, 11)), "activation_19")
_INCEPTION = ("max_pooling2d", "max_pooling2d_1", "mixed2", "mixed7", "mixed10")
_INCEPTION_RESNET = (
    "max_pooling2d",
    "max_pooling2d_1",
    "block35_10_ac",
    "block17_20_ac",
    "conv_7b_ac",
)
_XCEPTION = ("block1_conv2_act", "add", "add_1", "add_10", "block14_sepconv2_act")
_RAW = (("include_preprocessing", False),)

_ROWS = (
    #    name                   constructor          size  pixels   parameters   channels
    Spec("convnext_tiny",       "ConvNeXtTiny",       224, "torch",  27_820_128,  768, _convnext("tiny", 2, 5, 14), _RAW),
    Spec("convnext_small",      "ConvNeXtSmall",      224, "torch",  49_454_688,  768, _convnext("small", 2, 5, 32), _RAW),
    Spec("convnext_base",       "ConvNeXtBase",       224, "torch",  87_566_464, 1024, _convnext("base", 2, 5, 32), _RAW),
    Spec("convnext_large",      "ConvNeXtLarge",      224, "torch", 196_230_336, 1536, _convnext("large", 2, 5, 32), _RAW),
    Spec("convnext_xlarge",     "ConvNeXtXLarge",     224, "torch", 348_147_968, 2048, _convnext("xlarge", 2, 5, 32), _RAW),
    Spec("densenet121",         "DenseNet121",        224, "torch",   7_037_504, 1024, _DENSENET),
    Spec("densenet169",         "DenseNet169",        224, "torch",  12_642_880, 1664, _DENSENET),
    Spec("densenet201",         "DenseNet201",        224, "torch",  18_321_984, 1920, _DENSENET),
    Spec("efficientnet_b0",     "EfficientNetB0",     224, "torch",   4_049_571, 1280, _efficientnet("abbc", "block1a_project_bn"), inside=7),
    Spec("efficientnet_b1",     "EfficientNetB1",     240, "torch",   6_575_239, 1280, _efficientnet("bccd"), inside=7),
    Spec("efficientnet_b2",     "EfficientNetB2",     260, "torch",   7_768_569, 1408, _efficientnet("bccd"), inside=7),
    Spec("efficientnet_b3",     "EfficientNetB3",     300, "torch",  10_783_535, 1536, _efficientnet("bcce"), inside=7),
    Spec("efficientnet_b4",     "EfficientNetB4",     380, "torch",  17_673_823, 1792, _efficientnet("bddf"), inside=7),
    Spec("efficientnet_b5",     "EfficientNetB5",     456, "torch",  28_513_527, 2048, _efficientnet("ceeg"), inside=7),
    Spec("efficientnet_b6",     "EfficientNetB6",     528, "torch",  40_960_143, 2304, _efficientnet("cffh"), inside=7),
    Spec("efficientnet_b7",     "EfficientNetB7",     600, "torch",  64_097_687, 2560, _efficientnet("dggj"), inside=7),
    Spec("efficientnet_v2_b0",  "EfficientNetV2B0",   224, "torch",   5_919_312, 1280, _efficientnet("abbe", "block1a_project_activation"), _RAW),
    Spec("efficientnet_v2_b1",  "EfficientNetV2B1",   240, "torch",   6_931_124, 1280, _efficientnet("bccf"), _RAW),
    Spec("efficientnet_v2_b2",  "EfficientNetV2B2",   260, "torch",   8_769_374, 1408, _efficientnet("bccf"), _RAW),
    Spec("efficientnet_v2_b3",  "EfficientNetV2B3",   300, "torch",  12_930_622, 1536, _efficientnet("bccg"), _RAW),
    Spec("efficientnet_v2_s",   "EfficientNetV2S",    384, "tf128",  20_331_360, 1280, _efficientnet("bddi"), _RAW),
    Spec("efficientnet_v2_m",   "EfficientNetV2M",    480, "tf128",  53_150_388, 1280, _efficientnet("ceen"), _RAW),
    Spec("efficientnet_v2_l",   "EfficientNetV2L",    480, "tf128", 117_746_848, 1280, _efficientnet("dggs"), _RAW),
    Spec("inception_resnet_v2", "InceptionResNetV2",  299, "tf",     54_336_736, 1536, _INCEPTION_RESNET),
    Spec("inception_v3",        "InceptionV3",        299, "tf",     21_802_784, 2048, _INCEPTION),
    Spec("mobilenet",           "MobileNet",          224, "tf",      3_228_864, 1024, _MOBILENET),
    Spec("mobilenet_v2",        "MobileNetV2",        224, "tf",      2_257_984, 1280, _MOBILENET_V2),
    Spec("mobilenet_v3_small",  "MobileNetV3Small",   224, "tf",        939_120,  576, _SMALL, _RAW),
    Spec("mobilenet_v3_large",  "MobileNetV3Large",   224, "tf",      2_996_352,  960, _LARGE, _RAW),
    Spec("nasnet_mobile",       "NASNetMobile",       224, "tf",      4_269_716, 1056, ("stem_bn1", "activation_187")),
    Spec("nasnet_large",        "NASNetLarge",        331, "tf",     84_916_818, 4032, ("stem_bn1", "activation_259")),
    Spec("resnet50",            "ResNet50",           224, "caffe",  23_587_712, 2048, _resnet(3, 4, 6)),
    Spec("resnet101",           "ResNet101",          224, "caffe",  42_658_176, 2048, _resnet(3, 4, 23)),
    Spec("resnet152",           "ResNet152",          224, "caffe",  58_370_944, 2048, _resnet(3, 8, 36)),
    Spec("resnet50_v2",         "ResNet50V2",         224, "tf",     23_564_800, 2048, _resnet(3, 4, 6, "post_relu")),
    Spec("resnet101_v2",        "ResNet101V2",        224, "tf",     42_626_560, 2048, _resnet(3, 4, 23, "post_relu")),
    Spec("resnet152_v2",        "ResNet152V2",        224, "tf",     58_331_648, 2048, _resnet(3, 8, 36, "post_relu")),
    Spec("vgg16",               "VGG16",              224, "caffe",  14_714_688,  512, _VGG),
    Spec("vgg19",               "VGG19",              224, "caffe",  20_024_384,  512, _VGG),
    Spec("xception",            "Xception",           299, "tf",     20_861_480, 2048, _XCEPTION),
)  # fmt: skip

# The other widths that Keras has ImageNet weights for: row, width, parameters, feature channels.
_WIDTHS = (
    ("mobilenet",          0.25,   218_544,  256), ("mobilenet",          0.5,    829_536,  512),
    ("mobilenet",          0.75, 1_832_976,  768), ("mobilenet_v2",       0.35,   410_208, 1280),
    ("mobilenet_v2",       0.5,    706_224, 1280), ("mobilenet_v2",       0.75, 1_382_064, 1280),
    ("mobilenet_v2",       1.3,  3_766_048, 1664), ("mobilenet_v2",       1.4,  4_363_712, 1792),
    ("mobilenet_v3_small", 0.75,   583_160,  432), ("mobilenet_v3_large", 0.75, 1_808_736,  720),
)  # fmt: skip


def _narrowed(row: Spec, alpha: float, parameters: int, channels: int) -> Spec:
    arguments = (*row.arguments, ("alpha", alpha))
    return replace(row, name=f"{row.name}_{alpha}", parameters=parameters, feature_channels=channels,
                   arguments=arguments)  # fmt: skip


TABLE: dict[str, Spec] = {row.name: row for row in _ROWS}
TABLE |= {row.name: row for row in (_narrowed(TABLE[w[0]], *w[1:]) for w in _WIDTHS)}


def names() -> list[str]:
    """Returns the names of all backbones that come with ImageNet weights, sorted."""
    return sorted(TABLE)


def spec(name: str) -> Spec:
    """Returns the row of a backbone; case, "_" and "-" do not matter ("MobileNetV2" will do).

    Raises `TlkitError` with suggestions for an unknown name.
    """
    found = lookup(name)
    if found is None:
        raise unknown("backbone", name, TABLE)
    return found


def describe() -> list[dict[str, Any]]:
    """Returns one plain dict per backbone, from the table alone."""
    return [
        {
            "name": row.name,
            "parameters": row.parameters,
            "size": row.size,
            "preprocessing": row.preprocessing,
            "stages": [name for name, _ in row.stages],
            "feature_channels": row.feature_channels,
        }
        for row in map(spec, names())
    ]


def lookup(name: str) -> Spec | None:
    """Returns the row that `name` means in any spelling, None if there is none."""
    return {_plain(row): TABLE[row] for row in TABLE}.get(_plain(name))


def _plain(name: str) -> str:
    """Returns a spelling-free form; full width and MobileNet's "v1" go without saying."""
    plain = re.sub(r"[-_\s]", "", name.lower())
    return re.sub(r"^mobilenetv1", "mobilenet", re.sub(r"(?<=[a-z2])1\.0$", "", plain))
