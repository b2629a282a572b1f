"""Nets as drawings: what a paper says, and what Keras built, in the same few words.

A `Node` is one operation with everything below it, so two nets are the same net if their last
nodes have the same key. Padding is written as the pixels that a window hangs over, on the four
sides, so that "same", "valid", zeros of their own and ceil mode are compared by what they do.
What is added may come in either order; what is concatenated may not.
"""

import hashlib
from math import ceil


class Node:
    """One operation: what it does, what it reads, and the (height, width, depth) it gives."""

    def __init__(self, what, inputs, shape):
        self.what, self.shape = what, tuple(shape)
        self.inputs = sorted(inputs, key=lambda node: node.key) if what == "add" else list(inputs)
        below = "".join(node.key for node in self.inputs)
        self.key = hashlib.sha1(f"{what}{self.shape}{below}".encode()).hexdigest()


def listing(*ends):
    """Returns one line for each node, inputs before readers: what two nets are compared by."""
    lines, numbers, todo = [], {}, [(end, False) for end in reversed(ends)]
    while todo:
        node, ready = todo.pop()
        if node.key in numbers:
            continue
        if not ready:
            todo += [(node, True), *((below, False) for below in reversed(node.inputs))]
            continue
        numbers[node.key] = len(lines)
        reads = ", ".join(str(numbers[below.key]) for below in node.inputs)
        size = "x".join(map(str, node.shape))
        lines.append(f"{len(lines)}: {node.what} of {reads or 'nothing'} -> {size}")
    return [*lines, f"ends: {[numbers[end.key] for end in ends]}"]


# --- the words ---


def image(*shape):
    return Node("image", (), shape)


def one(what, x, shape=None):
    """Returns a node that reads one other, of the same shape if none is given."""
    return Node(what, (x,), shape or x.shape)


def conv(x, filters, kernel, stride=1, pad="same", bias=True, groups=1):
    kernel, steps, sides, size = _windows(x, kernel, stride, pad)
    what = f"conv {kernel} by {steps} over {sides}, {groups} groups, bias {bias}"
    return one(what, x, (*size, filters))


def depthwise(x, kernel, stride=1, pad="same", bias=True, times=1):
    kernel, steps, sides, size = _windows(x, kernel, stride, pad)
    what = f"depthwise {kernel} by {steps} over {sides}, {times} times, bias {bias}"
    return one(what, x, (*size, times * x.shape[-1]))


def pool(x, kind, size, stride=None, pad="valid"):
    """`kind`: "max" or "mean", of what is inside the map; `pad` may be "ceil" as in Caffe."""
    kernel, steps, sides, area = _windows(x, size, stride or size, pad)
    if kernel == (1, 1):
        return one(f"every {steps}", x, (*area, x.shape[-1]))
    return one(f"{kind} {kernel} by {steps} over {sides}", x, (*area, x.shape[-1]))


def dense(x, units, bias=True):
    return one(f"dense, bias {bias}", x, (*x.shape[:-1], units))


def act(x, kind="relu"):
    return x if kind == "linear" else one(kind, x)


def norm(x, epsilon, momentum, scale=True):
    return one(f"norm {epsilon:g} {momentum:g} gamma {scale}", x)


def lrn(x, size, k, alpha, beta):
    return one(f"lrn {size} {k:g} {alpha:g} {beta:g}", x)


def dropout(x, share):
    return one(f"drop {share:g}", x) if share else x


def flatten(x):
    height, width, depth = x.shape
    return one("flatten", x, (height * width * depth,))


def mean(x):
    return one("mean of the map", x, x.shape[-1:])


def zeros(x, top, bottom, left, right):
    height, width, depth = x.shape
    shape = (height + top + bottom, width + left + right, depth)
    node = one(f"zeros {(top, bottom, left, right)}", x, shape)
    node.corner = top, left
    return node


def crop(x, top, bottom, left, right):
    height, width, depth = x.shape
    shape = (height - top - bottom, width - left - right, depth)
    return one(f"crop {(top, bottom, left, right)}", x, shape)


def add(*inputs):
    return Node("add", inputs, inputs[0].shape)


def concat(*inputs):
    return Node("concat", inputs, (*inputs[0].shape[:-1], sum(x.shape[-1] for x in inputs)))


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _windows(x, kernel, stride, pad):
    kernel, steps = _pair(kernel), _pair(stride)
    sides = [_sides(n, k, s, pad) for n, k, s in zip(x.shape, kernel, steps, strict=False)]
    size = [
        (n + sum(side) - k) // s + 1
        for n, side, k, s in zip(x.shape, sides, kernel, steps, strict=False)
    ]
    # What no window reaches is no padding: floor mode drops it.
    sides = [
        (before, max(0, (count - 1) * s + k - n - before))
        for (before, _), count, n, k, s in zip(sides, size, x.shape, kernel, steps, strict=False)
    ]
    return kernel, steps, (*sides[0], *sides[1]), size


def _sides(length, size, stride, pad):
    """Returns the pixels before and after one side; `pad` may be a number or a pair of them."""
    if pad == "valid":
        return 0, 0
    if pad == "same":
        missing = max(0, (ceil(length / stride) - 1) * stride + size - length)
        return missing // 2, missing - missing // 2
    if pad == "ceil":
        count = ceil((length - size) / stride)
        count -= count * stride >= length  # a window must begin inside
        return 0, max(0, count * stride + size - length)
    return _pair(pad)
