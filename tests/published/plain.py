"""Chains of layers, as their papers (or prototxt files) draw them. Each function yields
(stage, node) for every stage and ends with ("", logits)."""

from tests.published.graph import (
    act,
    conv,
    dense,
    dropout,
    flatten,
    image,
    lrn,
    mean,
    norm,
    one,
    pool,
)

ALEX = (5, 2, 1e-4, 0.75)  # Krizhevsky et al. 2012, section 3.3: n, k, alpha, beta
CAFFE = (5, 1, 1e-4 / 5, 0.75)  # caffe's LRNLayer divides alpha by n


def relu_conv(x, filters, kernel, stride=1, pad="same", groups=1):
    return act(conv(x, filters, kernel, stride, pad, groups=groups))


def relu_dense(x, units):
    return act(dense(x, units))


# --- LeNets ---

# LeCun et al. 1998, Table I: rows are the maps of S2, columns those of C3.
TABLE_I = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
""".split()
COLUMNS = [[row for row in range(6) if TABLE_I[row][column] == "X"] for column in range(16)]
# Of LeCun et al. 1989 only "8 of 12" is known; karpathy/lecun1989-repro takes these.
THIRDS = [[*range(8)]] * 4 + [[*range(4, 12)]] * 4 + [[*range(4), *range(8, 12)]] * 4


def sparse(x, maps, stride, bias):
    y = conv(x, len(maps), 5, stride, "valid", bias)
    return one(f"{y.what} from {maps}", x, y.shape)


def lenet_1989():
    def background(x):
        return one("border 2 of -1", x, (x.shape[0] + 4, x.shape[1] + 4, x.shape[2]))

    def squashed(x):
        return act(one("a bias for each unit", x), "tanh")

    x = squashed(conv(background(image(16, 16, 1)), 12, 5, 2, "valid", bias=False))
    yield "h1", x
    x = squashed(sparse(background(x), THIRDS, 2, bias=False))
    yield "h2", x
    x = act(dense(flatten(x), 30), "tanh")
    yield "h3", x
    yield "", dense(x, 10)


def squash(x):
    return act(x, "scaled tanh")


def lenet_1():
    x = pool(squash(conv(image(28, 28, 1), 4, 5, pad="valid")), "mean", 2)
    yield "h1", x
    x = flatten(pool(squash(conv(x, 12, 5, pad="valid")), "mean", 2))
    yield "h3", x
    yield "", dense(x, 10)


def lenet_5(last):
    def subsampled(x):
        return squash(one("subsampling 2", x, (x.shape[0] // 2, x.shape[1] // 2, x.shape[2])))

    x = subsampled(squash(conv(image(32, 32, 1), 6, 5, pad="valid")))
    yield "c1", x
    x = subsampled(squash(sparse(x, COLUMNS, 1, bias=True)))
    yield "c3", x
    x = squash(conv(x, 120, 5, pad="valid"))
    yield "c5", x
    x = squash(dense(flatten(x), 84))
    yield "f6", x
    yield "", one("distance", x, (10,)) if last == "distance" else dense(x, 10)


def lenet_5_modern():
    x = pool(relu_conv(image(32, 32, 1), 6, 5, pad="valid"), "max", 2)
    yield "c1", x
    x = pool(relu_conv(x, 16, 5, pad="valid"), "max", 2)
    yield "c3", x
    x = relu_conv(x, 120, 5, pad="valid")
    yield "c5", x
    x = relu_dense(flatten(x), 84)
    yield "f6", x
    yield "", dense(x, 10)


def lenet_caffe():
    x = pool(conv(image(28, 28, 1), 20, 5, pad="valid"), "max", 2)
    yield "conv1", x
    x = pool(conv(x, 50, 5, pad="valid"), "max", 2)
    yield "conv2", x
    x = relu_dense(flatten(x), 500)
    yield "ip1", x
    yield "", dense(x, 10)


# --- AlexNet and its kin ---


def classified(x, *units, classes=1000, before=False):
    """Dense layers with half of their outputs (or inputs) dropped, then the logits."""
    x = flatten(x)
    for width in units:
        x = relu_dense(dropout(x, 0.5), width) if before else dropout(relu_dense(x, width), 0.5)
    return dense(x, classes)


def alexnet(groups, order):
    """`order`: of pooling and local response normalization after conv1 and conv2."""

    def after(x):
        if order == "norm, pool":
            return pool(lrn(x, *ALEX), "max", 3, 2)
        return lrn(pool(x, "max", 3, 2), *CAFFE)

    x = after(relu_conv(image(227, 227, 3), 96, 11, 4, "valid"))
    yield "conv1", x
    x = after(relu_conv(x, 256, 5, groups=groups))
    yield "conv2", x
    x = relu_conv(x, 384, 3)
    yield "conv3", x
    x = relu_conv(x, 384, 3, groups=groups)
    yield "conv4", x
    x = pool(relu_conv(x, 256, 3, groups=groups), "max", 3, 2)
    yield "conv5", x
    yield "", classified(x, 4096, 4096)


def alexnet_torchvision():
    x = pool(relu_conv(image(224, 224, 3), 64, 11, 4, 2), "max", 3, 2)
    yield "conv1", x
    x = pool(relu_conv(x, 192, 5), "max", 3, 2)
    yield "conv2", x
    for number, filters in ((3, 384), (4, 256)):
        x = relu_conv(x, filters, 3)
        yield f"conv{number}", x
    x = pool(relu_conv(x, 256, 3), "max", 3, 2)
    yield "conv5", x
    yield "", classified(x, 4096, 4096, before=True)


def zfnet(third, fourth, fifth):
    x = lrn(pool(relu_conv(image(224, 224, 3), 96, 7, 2, 1), "max", 3, 2, "ceil"), *ALEX)
    yield "conv1", x
    x = lrn(pool(relu_conv(x, 256, 5, 2, "valid"), "max", 3, 2, "ceil"), *ALEX)
    yield "conv2", x
    x = relu_conv(x, third, 3)
    yield "conv3", x
    x = relu_conv(x, fourth, 3)
    yield "conv4", x
    x = pool(relu_conv(x, fifth, 3), "max", 3, 2, "ceil")
    yield "conv5", x
    yield "", classified(x, 4096, 4096)


def overfeat_fast(first):
    x = pool(relu_conv(image(231, 231, 3), first, 11, 4, "valid"), "max", 2)
    yield "conv1", x
    x = pool(relu_conv(x, 256, 5, pad="valid"), "max", 2)
    yield "conv2", x
    x = relu_conv(x, 512, 3)
    yield "conv3", x
    x = relu_conv(x, 1024, 3)
    yield "conv4", x
    x = pool(relu_conv(x, 1024, 3), "max", 2)
    yield "conv5", x
    yield "", classified(x, 3072, 4096)


def overfeat_accurate():
    x = pool(relu_conv(image(221, 221, 3), 96, 7, 2, "valid"), "max", 3)
    yield "conv1", x
    x = pool(relu_conv(x, 256, 7, pad="valid"), "max", 2)
    yield "conv2", x
    for number, filters in ((3, 512), (4, 512), (5, 1024), (6, 1024)):
        x = relu_conv(x, filters, 3)
        if number == 6:
            x = pool(x, "max", 3)
        yield f"conv{number}", x
    yield "", classified(x, 4096, 4096)


# Simonyan and Zisserman 2015, Table 1, a line for each column; "1" is a 1x1, "L" an LRN.
VGG = {
    "a": "64 | 128 | 256 256 | 512 512 | 512 512",
    "a-lrn": "64 L | 128 | 256 256 | 512 512 | 512 512",
    "b": "64 64 | 128 128 | 256 256 | 512 512 | 512 512",
    "c": "64 64 | 128 128 | 256 256 1 | 512 512 1 | 512 512 1",
    "d": "64 64 | 128 128 | 256 256 256 | 512 512 512 | 512 512 512",
    "e": "64 64 | 128 128 | 256 256 256 256 | 512 512 512 512 | 512 512 512 512",
}


def vgg(column, normalized=False):
    x = image(224, 224, 3)
    for number, words in enumerate(VGG[column].split("|"), start=1):
        for word in words.split():
            if word == "L":
                x = lrn(x, *ALEX)
                continue
            x = conv(x, x.shape[-1], 1) if word == "1" else conv(x, int(word), 3)
            x = act(norm(x, 1e-5, 0.9) if normalized else x)  # torchvision's vgg16_bn
        x = pool(x, "max", 2)
        yield f"block{number}", x
    yield "", classified(x, 4096, 4096)


# --- nets without, or with few, dense layers ---


def nin():
    x = image(32, 32, 3)
    blocks = ((5, 192, (160, 96), "max"), (5, 192, (192, 192), "mean"), (3, 192, (192,), ""))
    for number, (kernel, first, rest, kind) in enumerate(blocks, start=1):
        x = relu_conv(x, first, kernel)
        for width in rest:
            x = relu_conv(x, width, 1)
        x = dropout(pool(x, kind, 3, 2, "ceil"), 0.5) if kind else x
        yield f"block{number}", x
    yield "", mean(relu_conv(x, 10, 1))


def all_cnn_c():
    x = dropout(image(32, 32, 3), 0.2)
    for number, width in enumerate((96, 192), start=1):
        x = relu_conv(relu_conv(x, width, 3), width, 3)
        x = dropout(relu_conv(x, width, 3, 2, 1), 0.5)
        yield f"block{number}", x
    x = relu_conv(relu_conv(x, 192, 3), 192, 1)
    yield "block3", x
    yield "", mean(relu_conv(x, 10, 1))


def deepface():
    def local(x, kernel, stride=1):
        y = conv(x, 16, kernel, stride, "valid")
        return act(one(f"local {y.what}", x, y.shape))

    x = pool(relu_conv(image(152, 152, 3), 32, 11, pad="valid"), "max", 3, 2, "ceil")
    yield "c1", x
    x = relu_conv(x, 16, 9, pad="valid")
    yield "c3", x
    for number, kernel, stride in ((4, 9, 1), (5, 7, 2), (6, 5, 1)):
        x = local(x, kernel, stride)
        yield f"l{number}", x
    x = dropout(relu_dense(flatten(x), 4096), 0.5)
    yield "f7", x
    yield "", dense(x, 4030)


def illing(stride, step):
    x = image(40, 40, 1)
    for number, filters in ((1, 32), (3, 64), (5, 128)):
        x = pool(relu_conv(x, filters, 3, stride, "valid"), "max", 2, step)
        x = flatten(x) if number == 5 else x
        yield f"conv{number}", x
    yield "", dense(x, 10)


def maxpool(*kept):
    """`kept`: the shares that the dropout paper prints, from the pixels to the last layer."""
    x = dropout(image(32, 32, 3), round(1 - kept[0], 4))
    for number, filters in enumerate((96, 128, 256), start=1):
        x = pool(relu_conv(x, filters, 5), "max", 3, 2, "ceil")
        x = dropout(x, round(1 - kept[number], 4))
        yield f"conv{number}", x
    x = flatten(x)
    for number in (4, 5):
        x = dropout(relu_dense(x, 2048), round(1 - kept[number], 4))
        yield f"fc{number}", x
    yield "", dense(x, 10)


def mlp(hidden, dropped=0):
    x = flatten(image(28, 28, 1))
    if not hidden:
        yield "pixels", x
    for number in range(1, hidden + 1):
        x = dropout(relu_dense(x, 512), dropped)
        yield f"fc{number}", x
    yield "", dense(x, 10)


NETS = {
    "lenet-1989": lenet_1989,
    "lenet-1": lenet_1,
    "lenet-5": lambda: lenet_5("distance"),
    "lenet-5-dense": lambda: lenet_5("dense"),
    "lenet-5-modern": lenet_5_modern,
    "lenet-caffe": lenet_caffe,
    "alexnet": lambda: alexnet(1, "norm, pool"),
    "alexnet-grouped": lambda: alexnet(2, "norm, pool"),
    "caffenet": lambda: alexnet(2, "pool, norm"),
    "alexnet-torchvision": alexnet_torchvision,
    "zfnet": lambda: zfnet(384, 384, 256),
    "zfnet-wide": lambda: zfnet(512, 1024, 512),
    "overfeat-fast": lambda: overfeat_fast(96),
    "overfeat-fast-slim": lambda: overfeat_fast(64),
    "overfeat-accurate": overfeat_accurate,
    **{f"vgg-{column}": lambda column=column: vgg(column) for column in VGG},
    **{f"vgg-{c}-bn": lambda column=c: vgg(column, normalized=True) for c in ("a", "d", "e")},
    "nin": nin,
    "all-cnn-c": all_cnn_c,
    "deepface": deepface,
    "illing": lambda: illing(2, 1),
    "illing-pool2": lambda: illing(1, 2),
    "maxpool": lambda: maxpool(1, 1, 1, 1, 1, 1),
    "maxpool-dropout-dense": lambda: maxpool(1, 1, 1, 1, 0.5, 0.5),
    "maxpool-dropout": lambda: maxpool(0.9, 0.75, 0.75, 0.5, 0.5, 0.5),
    "linear": lambda: mlp(0),
    "mlp": lambda: mlp(2),
    "mlp-dropout": lambda: mlp(2, 0.2),
}
