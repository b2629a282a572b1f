"""Reads what Keras built into the words of `graph`."""

import keras
from keras import layers

import tlkit.layers as own
from tests.published import graph
from tests.published.graph import Node, one


def read(model):
    """Returns {name of the operation: its node} of a model whose operations are called once."""
    made, nodes = {}, {}
    for op in model.operations:
        if isinstance(op, layers.InputLayer):
            node = graph.image(*op.output.shape[1:])
        else:
            node = _node(op, [made[id(tensor)] for tensor in keras.tree.flatten(op.input)])
        assert node.shape == tuple(op.output.shape[1:]), f"{op.name}: {node.shape}"
        made[id(op.output)] = nodes[op.name] = node
    return nodes


def ends(model, nodes):
    """Returns the nodes of the outputs, in order."""
    outputs = keras.tree.flatten(model.output)
    return [nodes[tensor._keras_history.operation.name] for tensor in outputs]


def _node(op, inputs):
    if isinstance(op, layers.Add):
        return graph.add(*inputs)
    if isinstance(op, layers.Concatenate):
        return graph.concat(*inputs)
    if type(op).__name__ == "CustomScaleLayer":  # of keras.applications: x + scale * y
        x, y = inputs
        return graph.add(x, one(f"times {op.scale:g} plus 0", y))
    return WORDS[type(op)](op, *inputs)


def _conv(op, x):
    x, pad = _under(op, x)
    y = graph.conv(x, op.filters, op.kernel_size, op.strides, pad, op.use_bias, op.groups)
    return _activated(op, y)


def _depthwise(op, x):
    x, pad = _under(op, x)
    times = op.depth_multiplier
    return _activated(op, graph.depthwise(x, op.kernel_size, op.strides, pad, op.use_bias, times))


def _separable(op, x):
    x, pad = _under(op, x)
    times = op.depth_multiplier
    x = graph.depthwise(x, op.kernel_size, op.strides, pad, bias=False, times=times)
    return _activated(op, graph.conv(x, op.filters, 1, bias=op.use_bias))


def _under(op, x):
    """Zeros that only a convolution reads are its padding."""
    assert op.dilation_rate == (1, 1)
    if op.padding != "valid" or not x.what.startswith("zeros"):
        return x, op.padding
    (below,) = x.inputs
    rows, columns = (
        after - before for after, before in zip(x.shape[:2], below.shape, strict=False)
    )
    top, left = x.corner
    assert (top, rows) == (left, columns), "the words know squares only"
    return below, (top, rows - top)


def _activated(op, y):
    return graph.act(y, op.activation.__name__)


def _pool(op, x):
    kind = "max" if isinstance(op, layers.MaxPooling2D) else "mean"
    return graph.pool(x, kind, op.pool_size, op.strides, op.padding)


def _ceil(op, x):
    assert op.padding == "valid"
    kind = "max" if isinstance(op, own.CeilMaxPool2D) else "mean"
    return graph.pool(x, kind, op.pool_size, op.strides, "ceil")


def _norm(op, x):
    assert op.center and op.axis in (-1, 3)
    return graph.norm(x, op.epsilon, op.momentum, op.scale)


def _relu(op, x):
    assert not op.negative_slope and not op.threshold
    return graph.act(x, {None: "relu", 6: "relu6"}[op.max_value])


def _mean(op, x):
    y = graph.mean(x)
    return one("as a pixel", y, (1, 1, x.shape[-1])) if op.keepdims else y


def _flatten(op, x):
    return graph.flatten(x)


def _sparse(op, x):
    y = graph.conv(x, len(op.maps), op.kernel_size, op.strides, "valid", op.use_bias)
    return Node(f"{y.what} from {[list(row) for row in op.maps]}", (x,), y.shape)


def _local(op, x):
    y = graph.conv(x, op.filters, op.kernel_size, op.strides, "valid")
    return Node(f"local {y.what}", (x,), y.shape)


def _wide(op, x):
    height, width, depth = x.shape
    side = 2 * op.padding
    shape = (height + side, width + side, depth)
    return one(f"border {op.padding} of {op.value:g}", x, shape)


def _subsampling(op, x):
    side = op.pool_size
    shape = (x.shape[0] // side, x.shape[1] // side, x.shape[2])
    return one(f"subsampling {side}", x, shape)


WORDS = {
    layers.Conv2D: _conv,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
    layers.MaxPooling2D: _pool,
    layers.AveragePooling2D: _pool,
    own.CeilMaxPool2D: _ceil,
    own.CeilAveragePool2D: _ceil,
    layers.BatchNormalization: _norm,
    layers.Activation: lambda op, x: graph.act(x, op.activation.__name__),
    layers.ReLU: _relu,
    own.ScaledTanh: lambda op, x: graph.act(x, "scaled tanh"),
    layers.Dense: lambda op, x: _activated(op, graph.dense(x, op.units, op.use_bias)),
    layers.Dropout: lambda op, x: graph.dropout(x, op.rate),
    layers.Flatten: _flatten,
    layers.GlobalAveragePooling2D: _mean,
    layers.ZeroPadding2D: lambda op, x: graph.zeros(x, *op.padding[0], *op.padding[1]),
    layers.Cropping2D: lambda op, x: graph.crop(x, *op.cropping[0], *op.cropping[1]),
    layers.Rescaling: lambda op, x: one(f"times {op.scale:g} plus {op.offset:g}", x),
    own.LocalResponseNormalization: lambda op, x: graph.lrn(
        x, op.size, op.k, op.alpha / (op.size if op.caffe else 1), op.beta
    ),
    own.PadChannels: lambda op, x: one("channels of zeros", x, (*x.shape[:-1], op.channels)),
    own.ConstantPadding2D: _wide,
    own.UntiedBias: lambda op, x: one("a bias for each unit", x),
    own.SparselyConnectedConv2D: _sparse,
    own.LocallyConnected2D: _local,
    own.TrainableSubsampling2D: _subsampling,
    own.DigitDistance: lambda op, x: one("distance", x, (op.classes,)),
}
