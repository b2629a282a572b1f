"""The table of pretrained backbones against what their papers and Keras's own page say.

Nothing is built here, so all fifty rows are looked at in every run; `test_backbones` builds some.
"""

import importlib
import inspect
import re
from itertools import pairwise
from math import ceil

import pytest

from tlkit.backbones import table
from tlkit.backbones.imagenet import imagenet_file
from tlkit.backbones.table import TABLE, lookup

# Pixels per side that are not 224: Tan and Le 2019 (B1 to B7) and 2021, and the Inception papers.
SIZES = {
    "efficientnet_b1": 240, "efficientnet_b2": 260, "efficientnet_b3": 300, "efficientnet_b4": 380,
    "efficientnet_b5": 456, "efficientnet_b6": 528, "efficientnet_b7": 600,
    "efficientnet_v2_b1": 240, "efficientnet_v2_b2": 260, "efficientnet_v2_b3": 300,
    "efficientnet_v2_s": 384, "efficientnet_v2_m": 480, "efficientnet_v2_l": 480,
    "inception_resnet_v2": 299, "inception_v3": 299, "nasnet_large": 331, "xception": 299,
}  # fmt: skip
# keras.applications' imagenet_utils.preprocess_input calls them so; "tf128" is x / 128 - 1.
KINDS = {
    "caffe": ("resnet50", "resnet101", "resnet152", "vgg16", "vgg19"),
    "tf128": ("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"),
    "torch": tuple(n for n in TABLE if n.startswith(("convnext", "densenet", "efficientnet_b")))
    + tuple(f"efficientnet_v2_b{i}" for i in range(4)),
}
# keras.io/api/applications: all parameters, with the classifier of 1,000 classes.
WITH_TOP = {
    "convnext_tiny": 28_589_128, "convnext_small": 50_223_688, "convnext_base": 88_591_464,
    "convnext_large": 197_767_336, "convnext_xlarge": 350_196_968, "densenet121": 8_062_504,
    "densenet169": 14_307_880, "densenet201": 20_242_984, "efficientnet_b0": 5_330_571,
    "efficientnet_b1": 7_856_239, "efficientnet_b2": 9_177_569, "efficientnet_b3": 12_320_535,
    "efficientnet_b4": 19_466_823, "efficientnet_b5": 30_562_527, "efficientnet_b6": 43_265_143,
    "efficientnet_b7": 66_658_687, "efficientnet_v2_b0": 7_200_312,
    "efficientnet_v2_b1": 8_212_124, "efficientnet_v2_b2": 10_178_374,
    "efficientnet_v2_b3": 14_467_622, "efficientnet_v2_s": 21_612_360,
    "efficientnet_v2_m": 54_431_388, "efficientnet_v2_l": 119_027_848,
    "inception_resnet_v2": 55_873_736, "inception_v3": 23_851_784, "mobilenet": 4_253_864,
    "mobilenet_v2": 3_538_984, "mobilenet_v3_small": 2_554_968, "mobilenet_v3_large": 5_507_432,
    "nasnet_mobile": 5_326_716, "nasnet_large": 88_949_818, "resnet50": 25_636_712,
    "resnet101": 44_707_176, "resnet152": 60_419_944, "resnet50_v2": 25_613_800,
    "resnet101_v2": 44_675_560, "resnet152_v2": 60_380_648, "vgg16": 138_357_544,
    "vgg19": 143_667_240, "xception": 22_910_480,
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_sizes_and_pixels_are_those_of_the_papers(name):
    plain = re.sub(r"_[01]\.\d+$", "", name)
    assert TABLE[name].size == SIZES.get(plain, 224)
    kind = next((kind for kind, listed in KINDS.items() if plain in listed), "tf")
    assert TABLE[name].preprocessing == kind


def head(name, channels):
    """Parameters of the classifier that `parameters` leaves out."""
    if name.startswith("vgg"):
        units = (49 * channels, 4096, 4096, 1000)
    elif name.startswith("mobilenet_v3"):
        units = (channels, 1280 if "large" in name else 1024, 1000)
    else:
        units = (channels, 1000)
    return sum((a + 1) * b for a, b in pairwise(units))


@pytest.mark.parametrize("name", WITH_TOP)
def test_parameters_and_channels_are_those_of_the_whole_net_without_its_classifier(name):
    row = TABLE[name]
    assert row.parameters + head(name, row.feature_channels) == WITH_TOP[name]


def divisible(filters):
    """Sandler et al.'s rule: a multiple of 8, not more than a tenth below."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 * (rounded < 0.9 * filters)


def mobilenet(alpha):
    """Returns (parameters, channels) of v1, Table 1 of Howard et al., at a width."""
    widths = [int(alpha * w) for w in (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)]
    total = 27 * widths[0] + 4 * widths[0]
    for before, after in pairwise(widths):
        total += 9 * before + 4 * before + before * after + 4 * after
    return total, widths[-1]


def mobilenet_v2(alpha):
    """Returns (parameters, channels) of v2, Table 2 of Sandler et al., at a width."""
    before = divisible(32 * alpha)
    total = 31 * before
    for t, c, n in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3),
                    (6, 320, 1)):  # fmt: skip
        for _ in range(n):
            wide, after = t * before, divisible(c * alpha)
            total += (before + 4) * wide if t > 1 else 0
            total += 13 * wide + (wide + 4) * after
            before = after
    last = divisible(1280 * alpha) if alpha > 1 else 1280
    return total + (before + 4) * last, last


@pytest.mark.parametrize(
    "name", [n for n in TABLE if n.startswith(("mobilenet_0", "mobilenet_v2"))]
)
def test_narrow_and_wide_mobilenets_are_the_closed_form(name):
    row = TABLE[name]
    alpha = dict(row.arguments).get("alpha", 1.0)
    assert name.endswith(f"_{alpha}") or alpha == 1
    form = mobilenet_v2 if "v2" in name else mobilenet
    assert (row.parameters, row.feature_channels) == form(alpha)


def test_every_width_of_keras_has_a_row():
    widths = {"mobilenet": (0.25, 0.5, 0.75), "mobilenet_v2": (0.35, 0.5, 0.75, 1.3, 1.4),
              "mobilenet_v3_small": (0.75,), "mobilenet_v3_large": (0.75,)}  # fmt: skip
    expected = {f"{name}_{alpha}" for name, alphas in widths.items() for alpha in alphas}
    assert set(TABLE) == set(WITH_TOP) | expected
    for name in expected:
        row, full = TABLE[name], TABLE[name.rpartition("_")[0]]
        assert (row.constructor, row.boundaries) == (full.constructor, full.boundaries)
        assert row.arguments == (*full.arguments, ("alpha", float(name.rpartition("_")[2])))


# Where stages end: the last block before the map shrinks, from the numbers of blocks in the papers.
SCALED = {"b0": 1.0, "b1": 1.1, "b2": 1.2, "b3": 1.4, "b4": 1.8, "b5": 2.2, "b6": 2.6, "b7": 3.1}
V2 = {"s": (2, 4, 4, 9), "m": (3, 5, 5, 14), "l": (4, 7, 7, 19)}  # groups 1, 2, 3 and 5


@pytest.mark.parametrize("depth", [50, 101, 152])
@pytest.mark.parametrize("end", ["", "_v2"])
def test_resnets_end_their_stages_with_their_last_blocks(depth, end):
    boundaries = TABLE[f"resnet{depth}{end}"].boundaries
    counts = [int(re.search(r"block(\d+)_out", name)[1]) for name in boundaries[1:4]]
    assert 3 * (sum(counts) + 3) + 2 == depth
    assert counts[:2] == [3, 8 if depth == 152 else 4]
    assert [name[:5] for name in boundaries[1:4]] == ["conv2", "conv3", "conv4"]
    last = "post_relu" if end else "conv5_block3_out"
    assert (boundaries[0], boundaries[4]) == ("pool1_pool", last)


@pytest.mark.parametrize("name", [n for n in TABLE if n.startswith("efficientnet")])
def test_efficientnets_repeat_blocks_by_their_depth(name):
    scale = name.split("_")[-1]
    base = (1, 2, 2, 5 if "v2" in name else 3)
    counts = V2.get(scale) or [ceil(SCALED[scale] * n) for n in base]
    ends = [f"block{g}{chr(96 + n)}_add" for g, n in zip("1235", counts, strict=True)]
    if counts[0] == 1:  # a single block changes the channels: it has no sum
        ends[0] = "block1a_project_activation" if "v2" in name else "block1a_project_bn"
    assert TABLE[name].boundaries == (*ends, "top_activation")
    assert TABLE[name].inside == (0 if "v2" in name else 7)


def test_convnexts_end_their_stages_with_the_last_block_of_each_depth():
    for name in [n for n in TABLE if n.startswith("convnext")]:
        depths = (3, 3, 9) if name.endswith("tiny") else (3, 3, 27)
        adds = [f"add_{sum(depths[:i]) - 1}" for i in (1, 2, 3)]
        assert TABLE[name].boundaries == (f"{name}_stem", *adds, "layer_normalization")


def test_other_boundaries_follow_from_their_strides():
    # v1: the pointwise layer before each halving; v2: the last block of the groups of Table 2.
    halving = (2, 4, 6, 12)
    assert TABLE["mobilenet"].boundaries == (
        *(f"conv_pw_{n - 1}_relu" for n in halving), "conv_pw_13_relu",
    )  # fmt: skip
    groups = (2, 3, 4 + 3)  # 24; 32; 64 and 96
    ends = [f"block_{sum(groups[:i])}_add" for i in (1, 2, 3)]
    assert TABLE["mobilenet_v2"].boundaries == ("expanded_conv_project_BN", *ends, "out_relu")
    # Xception: one sum in each block but the last of the entry flow's 3, the middle flow's 8.
    sums = ("add", "add_1", f"add_{3 + 8 - 1}")
    assert TABLE["xception"].boundaries == ("block1_conv2_act", *sums, "block14_sepconv2_act")
    pools = ("max_pooling2d", "max_pooling2d_1")
    assert TABLE["inception_v3"].boundaries == (*pools, "mixed2", "mixed7", "mixed10")
    blocks = ("block35_10_ac", "block17_20_ac", "conv_7b_ac")
    assert TABLE["inception_resnet_v2"].boundaries == (*pools, *blocks)
    assert TABLE["vgg16"].boundaries == TABLE["vgg19"].boundaries
    assert TABLE["vgg16"].boundaries == tuple(f"block{i}_pool" for i in range(1, 6))
    dense = ("pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu")
    assert {TABLE[f"densenet{d}"].boundaries for d in (121, 169, 201)} == {dense}


# Names and digests of the files, as they stand in Keras's own source.


MODULES = (
    "efficientnet_v2", "efficientnet", "mobilenet_v3", "convnext", "densenet", "nasnet", "resnet",
)  # fmt: skip


def source(name):
    module = next((m for m in MODULES if name.startswith(m)), name)
    return inspect.getsource(importlib.import_module(f"keras.src.applications.{module}"))


def digests(text):
    return re.findall(r'"([0-9a-f]{64}|[0-9a-f]{32})"', text)


def listed(name):
    """Returns (file, digest) of a family whose module lists (with top, without) by a short name."""
    if name.startswith("mobilenet_v3"):
        size, _, width = name.removeprefix("mobilenet_v3_").partition("_")
        key = f"{size}_224_{width or '1.0'}_float"
        file = f"weights_mobilenet_v3_{key}_no_top_v2.h5"
    elif name.startswith("efficientnet"):
        key = re.sub(r"^([sml])$", r"-\1", name.rpartition("_")[2])
        file = name.replace("_v2_", "v2-").replace("_", "") + "_notop.h5"
    else:
        key = name.replace("_v2", "v2")
        resnet = "_weights_tf_dim_ordering_tf_kernels" if "resnet" in name else ""
        file = f"{key}{resnet}_notop.h5"
    return file, digests(source(name).split(f'"{key}": (')[1])[1]


LISTED = [n for n in TABLE if re.match(r"convnext|efficientnet|mobilenet_v3|resnet", n)]
INLINE = ["densenet121", "densenet169", "densenet201", "inception_v3", "nasnet_mobile",
          "nasnet_large", "vgg16", "vgg19", "xception"]  # fmt: skip


@pytest.mark.parametrize("name", LISTED)
def test_guard_files_without_top_are_keras_own(name):
    assert imagenet_file(name, 224) == listed(name)


@pytest.mark.parametrize("name", INLINE)
def test_guard_files_and_digests_stand_together_in_keras(name):
    file, digest = imagenet_file(name, 224)
    assert file.startswith(name) and "top" in file
    # The name stands at the head of some modules too, as a part of its address.
    assert digests(source(name).split(f'"{file}"')[-1])[0] == digest


def test_files_of_mobilenets_are_named_by_width_and_size():
    assert imagenet_file("mobilenet_0.75", 160) == ("mobilenet_7_5_160_tf_no_top.h5", None)
    assert imagenet_file("mobilenet", 96)[0] == "mobilenet_1_0_224_tf_no_top.h5"
    start = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
    assert imagenet_file("mobilenet_v2_1.4", 96)[0] == f"{start}_1.4_96_no_top.h5"
    assert imagenet_file("mobilenet_v2", 300)[0] == f"{start}_1.0_224_no_top.h5"


def test_describe_says_what_the_table_says_in_order():
    rows = {row["name"]: row for row in table.describe()}
    assert list(rows) == table.names() == sorted(TABLE)
    row = rows["efficientnet_b4"]
    assert (row["size"], row["preprocessing"], row["feature_channels"]) == (380, "torch", 1792)
    assert row["parameters"] == 17_673_823
    assert rows["nasnet_large"]["stages"] == ["stage1", "stage2"]


def test_names_of_nobody_are_not_looked_up():
    assert lookup("resnet51") is None
    assert len(TABLE) == 50
