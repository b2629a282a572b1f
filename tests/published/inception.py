"""The Inception families, from the papers' tables and figures, in the order in which the released
nets concatenate. Each function yields (stage, node) for every stage, ("", logits) and the logits of
auxiliary heads."""

from functools import partial

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
    lrn,
    mean,
    norm,
    one,
    pool,
)
from tests.published.plain import CAFFE, relu_conv, relu_dense


def unit(x, filters, kernel, stride=1, pad="same", gamma=True):
    """Convolution without bias, BatchNorm with Keras's constants, ReLU."""
    return act(norm(conv(x, filters, kernel, stride, pad, bias=False), 1e-3, 0.99, gamma))


def same_pool(x, kind, stride=1):
    return pool(x, kind, 3, stride, "same")


def halved(x):
    return pool(x, "max", 3, 2)


# --- GoogLeNet: bvlc_googlenet's prototxt ---


def inception(x, one1, three_reduce, three, five_reduce, five, proj):
    return concat(
        relu_conv(x, one1, 1),
        relu_conv(relu_conv(x, three_reduce, 1), three, 3),
        relu_conv(relu_conv(x, five_reduce, 1), five, 5),
        relu_conv(same_pool(x, "max"), proj, 1),
    )


def naive(x, one1, _, three, __, five, ___):
    return concat(
        relu_conv(x, one1, 1), relu_conv(x, three, 3), relu_conv(x, five, 5), same_pool(x, "max")
    )


def googlenet(module=inception, heads=False):
    def shrunk(x):
        return pool(x, "max", 3, 2, "ceil")

    def head(x):
        x = relu_conv(pool(x, "mean", 5, 3, "ceil"), 128, 1)
        return dense(dropout(relu_dense(flatten(x), 1024), 0.7), 1000)

    x = lrn(shrunk(relu_conv(image(224, 224, 3), 64, 7, 2, 3)), *CAFFE)
    yield "conv1", x
    x = shrunk(lrn(relu_conv(relu_conv(x, 64, 1), 192, 3), *CAFFE))
    yield "conv2", x
    x = module(x, 64, 96, 128, 16, 32, 32)
    x = shrunk(module(x, 128, 128, 192, 32, 96, 64))
    yield "inception_3", x
    x = first = module(x, 192, 96, 208, 16, 48, 64)
    x = module(x, 160, 112, 224, 24, 64, 64)
    x = module(x, 128, 128, 256, 24, 64, 64)
    x = second = module(x, 112, 144, 288, 32, 64, 64)
    x = shrunk(module(x, 256, 160, 320, 32, 128, 128))
    yield "inception_4", x
    x = module(x, 256, 160, 320, 32, 128, 128)
    x = module(x, 384, 192, 384, 48, 128, 128)
    yield "inception_5", x
    yield "", dense(dropout(mean(x), 0.4), 1000)
    if heads:
        yield "", head(first)
        yield "", head(second)


# --- slim's inception_v2 ---


def bn_inception():
    def module(x, one1, three_reduce, three, double_reduce, double, kind, proj):
        y = unit(unit(x, double_reduce, 1), double, 3)
        return concat(
            unit(x, one1, 1),
            unit(unit(x, three_reduce, 1), three, 3),
            unit(y, double, 3),
            unit(same_pool(x, kind), proj, 1),
        )

    def grid(x, three_reduce, three, double_reduce, double):
        y = unit(unit(x, double_reduce, 1), double, 3)
        return concat(
            unit(unit(x, three_reduce, 1), three, 3, 2),
            unit(y, double, 3, 2),
            same_pool(x, "max", 2),
        )

    x = depthwise(image(224, 224, 3), 7, 2, bias=False, times=8)
    x = same_pool(act(conv(x, 64, 1)), "max", 2)
    yield "conv1", x
    x = same_pool(unit(unit(x, 64, 1), 192, 3), "max", 2)
    yield "conv2", x
    x = module(x, 64, 64, 64, 64, 96, "mean", 32)
    x = module(x, 64, 64, 96, 64, 96, "mean", 64)
    x = grid(x, 128, 160, 64, 96)
    yield "grid1", x
    x = module(x, 224, 64, 96, 96, 128, "mean", 128)
    x = module(x, 192, 96, 128, 96, 128, "mean", 128)
    x = module(x, 160, 128, 160, 128, 160, "mean", 96)
    x = module(x, 96, 128, 192, 160, 192, "mean", 96)
    x = grid(x, 128, 192, 192, 256)
    yield "grid2", x
    x = module(x, 352, 192, 320, 160, 224, "mean", 128)
    x = module(x, 352, 192, 320, 192, 224, "max", 128)
    yield "grid3", x
    yield "", dense(dropout(mean(x), 0.2), 1000)


# --- keras.applications.InceptionV3 ---


def long(x, unit, *steps):
    """A chain of units; a step is "filters rows x columns"."""
    for step in steps:
        filters, kernel = step.split()
        x = unit(x, int(filters), tuple(map(int, kernel.split("x"))))
    return x


def v3(heads=False):
    u = partial(unit, gamma=False)

    def fork(x):
        return u(x, 384, (1, 3)), u(x, 384, (3, 1))

    def module35(x, proj):
        return concat(
            u(x, 64, 1),
            long(x, u, "48 1x1", "64 5x5"),
            long(x, u, "64 1x1", "96 3x3", "96 3x3"),
            u(same_pool(x, "mean"), proj, 1),
        )

    def module17(x, n):
        return concat(
            u(x, 192, 1),
            long(x, u, f"{n} 1x1", f"{n} 1x7", "192 7x1"),
            long(x, u, f"{n} 1x1", f"{n} 7x1", f"{n} 1x7", f"{n} 7x1", "192 1x7"),
            u(same_pool(x, "mean"), 192, 1),
        )

    def module8(x):
        return concat(
            u(x, 320, 1),
            concat(*fork(u(x, 384, 1))),
            concat(*fork(long(x, u, "448 1x1", "384 3x3"))),
            u(same_pool(x, "mean"), 192, 1),
        )

    x = u(u(u(image(299, 299, 3), 32, 3, 2, "valid"), 32, 3, pad="valid"), 64, 3)
    x = halved(x)
    yield "conv1", x
    x = halved(u(u(x, 80, 1), 192, 3, pad="valid"))
    yield "conv2", x
    x = module35(module35(module35(x, 32), 64), 64)
    yield "grid1", x
    y = long(x, u, "64 1x1", "96 3x3")
    x = concat(u(x, 384, 3, 2, "valid"), u(y, 96, 3, 2, "valid"), halved(x))
    x = module17(module17(module17(module17(x, 128), 160), 160), 192)
    yield "grid2", x
    y = x
    z = long(x, u, "192 1x1", "192 1x7", "192 7x1")
    x = concat(u(u(x, 192, 1), 320, 3, 2, "valid"), u(z, 192, 3, 2, "valid"), halved(x))
    x = module8(module8(x))
    yield "grid3", x
    yield "", dense(dropout(mean(x), 0.2), 1000)
    if heads:
        y = u(pool(y, "mean", 5, 3), 128, 1)
        yield "", dense(mean(u(y, 768, 5, pad="valid")), 1000)


# --- Szegedy et al. 2017 ---


def half(x, filters, unit=unit):
    return unit(x, filters, 3, 2, "valid")


def figure3():
    x = unit(unit(half(image(299, 299, 3), 32), 32, 3, pad="valid"), 64, 3)
    x = concat(halved(x), half(x, 96))
    y = long(x, unit, "64 1x1", "64 7x1", "64 1x7")
    x = concat(unit(unit(x, 64, 1), 96, 3, pad="valid"), unit(y, 96, 3, pad="valid"))
    return concat(half(x, 192), halved(x))


def figure7(x, k, l, m, n, unit=unit):  # noqa: E741 (the letters of Table 1)
    y = long(x, unit, f"{k} 1x1", f"{l} 3x3")
    return concat(half(x, n, unit), half(y, m, unit), halved(x))


def v4():
    def fork(x):
        return concat(unit(x, 256, (1, 3)), unit(x, 256, (3, 1)))

    x = figure3()
    yield "stem", x
    for _ in range(4):  # figure 4
        x = concat(
            unit(x, 96, 1),
            long(x, unit, "64 1x1", "96 3x3"),
            long(x, unit, "64 1x1", "96 3x3", "96 3x3"),
            unit(same_pool(x, "mean"), 96, 1),
        )
    yield "grid1", x
    x = figure7(x, 192, 224, 256, 384)
    for _ in range(7):  # figure 5
        x = concat(
            unit(x, 384, 1),
            long(x, unit, "192 1x1", "224 1x7", "256 7x1"),
            long(x, unit, "192 1x1", "192 1x7", "224 7x1", "224 1x7", "256 7x1"),
            unit(same_pool(x, "mean"), 128, 1),
        )
    yield "grid2", x
    y = long(x, unit, "256 1x1", "256 1x7", "320 7x1")  # figure 8
    x = concat(half(unit(x, 192, 1), 192), half(y, 320), halved(x))
    for _ in range(3):  # figure 6
        x = concat(
            unit(x, 256, 1),
            fork(unit(x, 384, 1)),
            fork(long(x, unit, "384 1x1", "448 1x3", "512 3x1")),
            unit(same_pool(x, "mean"), 256, 1),
        )
    yield "grid3", x
    yield "", dense(dropout(mean(x), 0.2), 1000)


def inception_resnet(x, last, counts, a, reduction, b, c, gamma=True):
    """`a`, `b`, `c`: the filters that differ between the versions; `reduction`: both of them."""
    u = partial(unit, gamma=gamma)

    def residual(x, share, *branches, kind="relu"):
        y = conv(concat(*branches), x.shape[-1], 1)
        return act(add(x, one(f"times {share:g} plus 0", y)), kind)

    def block_a(x):
        y = long(x, u, "32 1x1", f"{a[0]} 3x3", f"{a[1]} 3x3")
        return residual(x, 0.17, u(x, 32, 1), long(x, u, "32 1x1", "32 3x3"), y)

    def block_b(x):
        y = long(x, u, "128 1x1", f"{b[1]} 1x7", f"{b[2]} 7x1")
        return residual(x, 0.1, u(x, b[0], 1), y)

    def block_c(x, share=0.2, kind="relu"):
        y = long(x, u, "192 1x1", f"{c[0]} 1x3", f"{c[1]} 3x1")
        return residual(x, share, u(x, 192, 1), y, kind=kind)

    klmn, (first, second, third) = reduction
    for _ in range(counts[0]):
        x = block_a(x)
    yield "grid1", x
    x = figure7(x, *klmn, u)
    for _ in range(counts[1]):
        x = block_b(x)
    yield "grid2", x
    y = u(u(x, 256, 1), second, 3)
    x = concat(
        half(u(x, 256, 1), 384, u), half(u(x, 256, 1), first, u), half(y, third, u), halved(x)
    )
    for _ in range(counts[2]):
        x = block_c(x)
    if last:  # the released net ends with a block that is neither scaled nor rectified
        x = u(block_c(x, 1.0, "linear"), 1536, 1)
    yield "grid3", x
    yield "", dense(dropout(mean(x), 0.2), 1000)


def stem_of_v3(u):
    x = u(u(half(image(299, 299, 3), 32, u), 32, 3, pad="valid"), 64, 3)
    return u(u(halved(x), 80, 1), 192, 3, pad="valid")


def resnet_v1():
    x = half(stem_of_v3(unit), 256)
    yield "stem", x
    klmn = (192, 192, 256, 384)
    reductions = (klmn, (256, 256, 256))
    yield from inception_resnet(
        x, False, (5, 10, 5), (32, 32), reductions, (128, 128, 128), (192, 192)
    )


SECOND = (((256, 256, 384, 384), (288, 288, 320)), (192, 160, 192), (224, 256))


def resnet_v2_drawn():
    x = figure3()
    yield "stem", x
    yield from inception_resnet(x, False, (5, 10, 5), (48, 64), *SECOND)


def resnet_v2():
    u = partial(unit, gamma=False)
    x = halved(stem_of_v3(u))
    yield "stem", x
    x = concat(
        u(x, 96, 1),
        long(x, u, "48 1x1", "64 5x5"),
        long(x, u, "64 1x1", "96 3x3", "96 3x3"),
        u(same_pool(x, "mean"), 64, 1),
    )
    yield from inception_resnet(x, True, (10, 20, 9), (48, 64), *SECOND, gamma=False)


NETS = {
    "googlenet": googlenet,
    "googlenet-aux": lambda: googlenet(heads=True),
    "googlenet-naive": lambda: googlenet(naive),
    "bn-inception": bn_inception,
    "inception-v3": v3,
    "inception-v3-aux": lambda: v3(heads=True),
    "inception-v4": v4,
    "inception-resnet-v1": resnet_v1,
    "inception-resnet-v2": resnet_v2,
    "inception-resnet-v2-drawn": resnet_v2_drawn,
}
