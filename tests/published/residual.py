"""Nets with shortcuts, dense blocks, Fire modules and depthwise layers. Each function yields
(stage, node) for every stage and ends with ("", logits)."""

from tests.published.graph import (
    act,
    add,
    concat,
    conv,
    dense,
    depthwise,
    dropout,
    flatten,
    image,
    mean,
    norm,
    one,
    pool,
    zeros,
)
from tests.published.plain import relu_conv

IMAGENET = (1.001e-5, 0.99)  # epsilon and momentum in keras.applications.resnet and .densenet
TORCH = (1e-5, 0.9)  # of the authors' Torch code for CIFAR


def unit(x, filters, kernel, stride=1, pad="same", bias=False, kind="relu", how=IMAGENET):
    """Convolution, normalization, activation."""
    return act(norm(conv(x, filters, kernel, stride, pad, bias), *how), kind)


def three(x, filters, stride=1, **more):
    return unit(x, filters, 3, stride, 1, **more)


# --- He et al. 2016, Deep residual learning, Table 1 ---


def shortcut(x, filters, stride, option, how=IMAGENET, bias=False):
    changes = x.shape[-1] != filters or stride > 1
    if option == "C" or (option == "B" and changes):
        return unit(x, filters, 1, stride, "valid", bias, "linear", how)
    if not changes:
        return x
    x = pool(x, "max", 1, stride) if stride > 1 else x
    return one("channels of zeros", x, (*x.shape[:-1], filters))


def basic(x, filters, stride, option, how=IMAGENET):
    y = three(three(x, filters, stride, how=how), filters, kind="linear", how=how)
    return act(y if option == "plain" else add(y, shortcut(x, filters, stride, option, how)))


def bottleneck(x, filters, stride, bias, halved):
    """`halved`: the place of the convolution with the stride, the 1x1 or the 3x3."""
    first, second = (stride, 1) if halved == "1x1" else (1, stride)
    y = unit(x, filters, 1, first, "valid", bias)
    y = three(y, filters, second, bias=bias)
    y = unit(y, 4 * filters, 1, bias=bias, kind="linear")
    return act(add(y, shortcut(x, 4 * filters, stride, "B", bias=bias)))


def stem(x, bias=False, filters=64):
    return pool(zeros(unit(x, filters, 7, 2, 3, bias), 1, 1, 1, 1), "max", 3, 2)


def resnet(counts, block, bias=False):
    x = stem(image(224, 224, 3), bias)
    yield "conv1", x
    for group, (count, filters) in enumerate(zip(counts, (64, 128, 256, 512), strict=True)):
        for index in range(count):
            x = block(x, filters, 2 if group and not index else 1)
        yield f"conv{group + 2}", x
    yield "", dense(mean(x), 1000)


def shallow(counts, option):
    return resnet(counts, lambda x, filters, stride: basic(x, filters, stride, option))


def deep(counts, bias=False, halved="1x1"):
    return resnet(counts, lambda *block: bottleneck(*block, bias, halved), bias)


def before(x, how=IMAGENET):
    return act(norm(x, *how))


def resnet_v2(counts):
    """keras.applications.ResNet50V2: the last block of a group halves, all but the last group."""
    x = conv(image(224, 224, 3), 64, 7, 2, 3, bias=True)
    x = pool(zeros(x, 1, 1, 1, 1), "max", 3, 2)
    yield "conv1", x
    for group, (count, filters) in enumerate(zip(counts, (64, 128, 256, 512), strict=True)):
        for index in range(count):
            stride = 2 if index == count - 1 and group < 3 else 1
            y = before(x)
            if index == 0:
                x = conv(y, 4 * filters, 1, stride)
            elif stride > 1:
                x = pool(x, "max", 1, 2)
            y = three(unit(y, filters, 1), filters, stride)
            x = add(x, conv(y, 4 * filters, 1))
        x = before(x) if group == 3 else x
        yield f"conv{group + 2}", x
    yield "", dense(mean(x), 1000)


# --- CIFAR ---


def cifar(depth, option):
    x = unit(image(32, 32, 3), 16, 3, how=TORCH)
    yield "conv1", x
    for group, filters in enumerate((16, 32, 64)):
        for index in range((depth - 2) // 6):
            x = basic(x, filters, 2 if group and not index else 1, option, TORCH)
        yield f"conv{group + 2}", x
    yield "", dense(mean(x), 10)


def wide(depth, k):
    """Zagoruyko's wide-resnet.lua: a 1x1 shortcut reads what is normalized and rectified."""
    x = conv(image(32, 32, 3), 16, 3, bias=False)
    yield "conv1", x
    for group, filters in enumerate((16 * k, 32 * k, 64 * k)):
        for index in range((depth - 4) // 6):
            stride = 2 if group and not index else 1
            y = before(x, TORCH)
            if not index:
                x = conv(y, filters, 1, stride, "valid", bias=False)
            y = conv(three(y, filters, stride, how=TORCH), filters, 3, bias=False)
            x = add(x, y)
        x = before(x, TORCH) if group == 2 else x
        yield f"conv{group + 2}", x
    yield "", dense(mean(x), 10)


def densenet(k, counts, bottleneck=True):
    """Bottlenecks come with a stem of twice the growth and with compression."""
    imagenet = len(counts) == 4
    how = IMAGENET if imagenet else TORCH
    if imagenet:
        x = stem(image(224, 224, 3), filters=2 * k)
    else:
        x = conv(image(32, 32, 3), 2 * k if bottleneck else 16, 3, bias=False)
    yield "conv1", x
    number = 6 - len(counts)
    for count in counts:
        for _ in range(count):
            y = before(x, how)
            y = unit(y, 4 * k, 1, how=how) if bottleneck else y
            x = concat(x, conv(y, k, 3, bias=False))
        x = before(x, how)
        if number < 5:
            kept = x.shape[-1] // 2 if bottleneck else x.shape[-1]  # "-BC" compresses by half
            x = pool(conv(x, kept, 1, bias=False), "mean", 2)
        yield f"conv{number}", x
        number += 1
    yield "", dense(mean(x), 1000 if imagenet else 10)


# --- SqueezeNet: the authors' prototxt ---


def squeezenet(kernel, filters, pooled_after, border):
    x = relu_conv(image(227, 227, 3), filters, kernel, 2, "valid")
    x = pool(x, "max", 3, 2, "ceil")
    yield "to_pool1", x
    for number in range(2, 10):
        squeezed = 16 * (number // 2)  # 16 16 32 32 48 48 64 64, and four times as much each way
        y = relu_conv(x, squeezed, 1)
        x = concat(relu_conv(y, 4 * squeezed, 1), relu_conv(y, 4 * squeezed, 3))
        if number in pooled_after:
            x = pool(x, "max", 3, 2, "ceil")
            yield f"to_pool{number}", x
    yield "fire9", x
    yield "", mean(relu_conv(dropout(x, 0.5), 1000, 1, pad=border))


# --- MobileNets as in keras.applications ---

V1 = (1e-3, 0.99)
V2 = (1e-3, 0.999)


def mobilenet(size=224):
    def separated(x, filters, stride):
        pad = (0, 1) if stride == 2 else "same"  # ZeroPadding2D(((0, 1), (0, 1)))
        x = act(norm(depthwise(x, 3, stride, pad, bias=False), *V1), "relu6")
        return unit(x, filters, 1, kind="relu6", how=V1)

    x = unit(image(size, size, 3), 32, 3, 2, kind="relu6", how=V1)
    plan = "64 | 128/2 128 | 256/2 256 | 512/2 512 512 512 512 512 | 1024/2 1024"
    for number, words in enumerate(plan.split("|")):
        for word in words.split():
            filters, _, stride = word.partition("/")
            x = separated(x, int(filters), int(stride or 1))
        yield f"map{112 >> number}", x
    x = one("as a pixel", mean(x), (1, 1, 1024))
    yield "", flatten(conv(dropout(x, 1e-3), 1000, 1))


def mobilenet_v2(size=224):
    def padded(x, stride):
        # imagenet_utils.correct_pad for a 3x3: one pixel less before an even side.
        return "same" if stride == 1 else ((1, 1) if x.shape[0] % 2 else (0, 1))

    def inverted(x, t, filters, stride):
        y = unit(x, t * x.shape[-1], 1, kind="relu6", how=V2) if t > 1 else x
        y = depthwise(y, 3, stride, padded(y, stride), bias=False)
        y = unit(act(norm(y, *V2), "relu6"), filters, 1, kind="linear", how=V2)
        return add(x, y) if stride == 1 and x.shape[-1] == filters else y

    x = unit(image(size, size, 3), 32, 3, 2, kind="relu6", how=V2)
    yield "map112", x
    # Sandler et al. 2018, Table 2: t, c, n, s
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
            (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
    ends = {24: "map56", 32: "map28", 96: "map14"}
    for t, filters, count, stride in rows:
        for index in range(count):
            x = inverted(x, t, filters, 1 if index else stride)
        if filters in ends:
            yield ends[filters], x
    x = unit(x, 1280, 1, kind="relu6", how=V2)
    yield "map7", x
    yield "", dense(mean(x), 1000)


FIFTY, HUNDRED, MORE = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
NETS = {
    "plain-18": lambda: shallow((2, 2, 2, 2), "plain"),
    "plain-34": lambda: shallow(FIFTY, "plain"),
    "resnet-18": lambda: shallow((2, 2, 2, 2), "B"),
    "resnet-34": lambda: shallow(FIFTY, "B"),
    "resnet-34-a": lambda: shallow(FIFTY, "A"),
    "resnet-34-c": lambda: shallow(FIFTY, "C"),
    **{
        f"resnet-{depth}{end}": lambda counts=counts, more=more: deep(counts, **more)
        for depth, counts in ((50, FIFTY), (101, HUNDRED), (152, MORE))
        for end, more in (("", {}), ("-v1.5", {"halved": "3x3"}), ("-keras", {"bias": True}))
    },
    "resnet-50-v2": lambda: resnet_v2(FIFTY),
    "resnet-101-v2": lambda: resnet_v2(HUNDRED),
    "resnet-152-v2": lambda: resnet_v2(MORE),
    **{f"plain-{d}": lambda d=d: cifar(d, "plain") for d in (20, 32, 44, 56, 110)},
    **{f"resnet-{d}": lambda d=d: cifar(d, "A") for d in (20, 32, 44, 56, 110, 1202)},
    **{f"resnet-{d}-b": lambda d=d: cifar(d, "B") for d in (20, 32, 44, 56, 110)},
    **{
        f"wrn-{depth}-{k}": lambda depth=depth, k=k: wide(depth, k)
        for depth, k in ((16, 4), (28, 4), (28, 10), (40, 4))
    },
    "densenet-121": lambda: densenet(32, (6, 12, 24, 16)),
    "densenet-169": lambda: densenet(32, (6, 12, 32, 32)),
    "densenet-201": lambda: densenet(32, (6, 12, 48, 32)),
    "densenet-161": lambda: densenet(48, (6, 12, 36, 24)),
    **{
        f"densenet-{depth}-{k}": lambda d=depth, k=k: densenet(k, [(d - 4) // 3] * 3, False)
        for depth, k in ((40, 12), (100, 12), (100, 24))
    },
    **{
        f"densenet-bc-{depth}-{k}": lambda d=depth, k=k: densenet(k, [(d - 4) // 6] * 3)
        for depth, k in ((100, 12), (250, 24), (190, 40))
    },
    "squeezenet-1.0": lambda: squeezenet(7, 96, (4, 8), 1),
    "squeezenet-1.1": lambda: squeezenet(3, 64, (3, 5), "valid"),
    "mobilenet-v1": mobilenet,
    "mobilenet-v2": mobilenet_v2,
}  # fmt: skip
