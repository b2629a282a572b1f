"""Nets of searched cells. Each function yields (stage, node) for every stage and ("", logits)."""

from functools import partial

from tests.published.graph import (
    act,
    add,
    concat,
    conv,
    crop,
    dense,
    depthwise,
    dropout,
    image,
    mean,
    norm,
    pool,
    zeros,
)


def unit(x, filters, kernel, stride=1, pad="same"):
    """Convolution and normalization, as keras.applications.nasnet has them."""
    return norm(conv(x, filters, kernel, stride, pad, bias=False), 1e-3, 0.9997)


def correct_pad(length, kernel):
    """imagenet_utils.correct_pad: one pixel less before an even side."""
    return (kernel // 2 - (1 - length % 2), kernel // 2)


def separable(x, filters, kernel, stride=1, pad="correct"):
    for step in (stride, 1):
        border = correct_pad(x.shape[0], kernel) if step == 2 and pad == "correct" else "same"
        y = depthwise(act(x), kernel, step, border, bias=False)
        x = unit(y, filters, 1)
    return x


def adjusted(p, h, filters):
    """The older input at the size and depth of a cell."""
    if p.shape[:2] != h.shape[:2]:
        x = act(p)
        shifted = crop(zeros(x, 0, 1, 0, 1), 1, 0, 1, 0)
        halves = (
            conv(pool(y, "mean", 1, 2), share, 1, bias=False)
            for y, share in ((x, filters // 2), (shifted, filters - filters // 2))
        )
        return norm(concat(*halves), 1e-3, 0.9997)
    return unit(act(p), filters, 1) if p.shape[-1] != filters else p


# --- NASNet-A: keras.applications.nasnet, _normal_a_cell and _reduction_a_cell ---


def mean3(x):
    return pool(x, "mean", 3, 1, "same")


def normal(h, p, filters):
    old = adjusted(p, h, filters)
    new = unit(act(h), filters, 1)
    sep = partial(separable, filters=filters)
    x1 = add(sep(new, kernel=5), sep(old, kernel=3))
    x2 = add(sep(old, kernel=5), sep(old, kernel=3))
    x3 = add(mean3(new), old)
    x4 = add(mean3(old), mean3(old))
    x5 = add(sep(new, kernel=3), new)
    return concat(old, x1, x2, x3, x4, x5)


def reduction(h, p, filters):
    old = h if p is None else adjusted(p, h, filters)
    new = unit(act(h), filters, 1)
    sep = partial(separable, filters=filters)
    before, after = correct_pad(new.shape[0], 3)
    padded = zeros(new, before, after, before, after)
    largest = pool(padded, "max", 3, 2)
    x1 = add(sep(new, kernel=5, stride=2), sep(old, kernel=7, stride=2))
    x2 = add(largest, sep(old, kernel=7, stride=2))
    x3 = add(pool(padded, "mean", 3, 2), sep(old, kernel=5, stride=2))
    x4 = add(x2, mean3(x1))
    x5 = add(sep(x1, kernel=3), largest)
    return concat(x2, x3, x4, x5)


def nasnet(size, stem, depth, count, skip_reduction):
    """`depth`: penultimate filters, of 6 x 4 cells' worth."""
    filters = depth // 24
    x = conv(image(size, size, 3), stem, 3, 2, "valid", bias=False)
    yield "stem", x  # before the normalization, a layer that other options lack
    x = norm(x, 1e-3, 0.9997)
    x, p = reduction(x, None, filters // 4), x
    x, p = reduction(x, p, filters // 2), x
    for group in range(3):
        if group:
            x, p = reduction(x, p, filters << group), p if skip_reduction else x
        for _ in range(count):
            x, p = normal(x, p, filters << group), x
    x = act(x)
    yield "cells", x
    yield "", dense(mean(x), 1000)


# --- AmoebaNet-A: the authors' TPU code. Hidden state 0 is the last cell, 1 the one before; each
# sum adds a state of its own. ---

NORMAL_OPERATIONS = (
    "avg_pool_3x3 max_pool_3x3 separable_3x3_2 none none avg_pool_3x3 separable_3x3_2 "
    "separable_5x5_2 avg_pool_3x3 separable_3x3_2"
).split()
NORMAL_STATES = (0, 0, 1, 1, 0, 1, 0, 2, 5, 0)
NORMAL_USED = (1, 0, 1, 0, 0, 1, 0)
REDUCTION_OPERATIONS = (
    "separable_3x3_2 avg_pool_3x3 max_pool_3x3 separable_7x7_2 max_pool_3x3 max_pool_3x3 "
    "separable_3x3_2 1x7_7x1 avg_pool_3x3 separable_7x7_2"
).split()
REDUCTION_STATES = (1, 0, 0, 2, 1, 0, 4, 0, 1, 0)
REDUCTION_USED = (1, 1, 0, 0, 0, 0, 0)


def operated(x, word, filters, stride):
    if word == "none":
        return x
    if word == "1x7_7x1":
        y = unit(act(x), filters // 4, 1)
        y = unit(act(y), filters // 4, (1, 7), (1, stride))
        y = unit(act(y), filters // 4, (7, 1), (stride, 1))
        return unit(act(y), filters, 1)
    if word.startswith("separable"):
        return separable(x, filters, int(word[10]), stride, "same")
    y = pool(x, {"avg": "mean", "max": "max"}[word[:3]], 3, stride, "same")
    return y if y.shape[-1] == filters else unit(y, filters, 1)


def amoeba_cell(h, p, filters, stride):
    operations, states, used = (
        (REDUCTION_OPERATIONS, REDUCTION_STATES, REDUCTION_USED)
        if stride == 2
        else (NORMAL_OPERATIONS, NORMAL_STATES, NORMAL_USED)
    )
    found = [unit(act(h), filters, 1), h if p is None else adjusted(p, h, filters)]
    for i in range(0, 10, 2):
        parts = [
            operated(found[s], word, filters, stride if s < 2 else 1)
            for word, s in zip(operations[i : i + 2], states[i : i + 2], strict=True)
        ]
        found.append(add(*parts))
    return concat(*(x for x, u in zip(found, used, strict=True) if not u))


def amoebanet():
    x, p = conv(image(331, 331, 3), 32, 3, 2, "valid", bias=False), None
    yield "stem", x
    x = norm(x, 1e-3, 0.9997)
    plan = [(47, 2), (95, 2)]
    for group in range(3):
        plan += [(190 << group, 2)] * bool(group) + [(190 << group, 1)] * 6
    for filters, stride in plan:
        x, p = amoeba_cell(x, p, filters, stride), x
    x = act(x)
    yield "cells", x
    yield "", dense(dropout(mean(x), 0.5), 1000)


NETS = {
    "nasnet-mobile": lambda: nasnet(224, 32, 1056, 4, skip_reduction=False),
    "nasnet-large": lambda: nasnet(331, 96, 4032, 6, skip_reduction=True),
    "amoebanet-a": amoebanet,
}
