"""A network with frozen normalization, run with each BatchNorm inside its convolution's kernel.

In inference mode `norm(conv(x))` is one convolution with the kernel `kernel * k` and a bias, where
k = gamma / sqrt(variance + epsilon) for each output channel (Jacob et al. 2018, section 3.2). The
product is taken in every step from the Keras variables themselves: nothing is copied, and
gradients reach the kernel.
"""

import collections
import dataclasses
import inspect
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from tlkit.backbones import surgery


@dataclasses.dataclass(frozen=True)
class _Mode:
    """How all units of a network are run."""

    half: bool = False  # take products in bfloat16; their sums leave as float32
    constant: bool = False  # for inference alone, so that nothing has a gradient


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A layer with a kernel, run together with what stands next to it."""

    layer: keras.layers.Layer  # of one of `_KINDS`
    norm: keras.layers.BatchNormalization | None  # behind it
    strides: tuple[int, int]
    padding: str  # "SAME" or "VALID"
    mode: _Mode

    def __call__(self, x):
        name, product = _KINDS[type(self.layer)]
        kernel, bias = _kernel_and_bias(self, tf.convert_to_tensor(getattr(self.layer, name)))
        y = product(self, x, kernel)
        y = y if bias is None else y + bias
        return y if self.norm else self.layer.activation(y)


def fold(part: keras.Model, *, bfloat16: bool = False) -> Callable:
    """Returns `run(x, training=False)`, equal to `part(x, training=False)` but for rounding.

    For use inside a `tf.function`, with float32 `x`. Layers of unknown kinds are called as they
    are, in inference mode. With `training=True` it is `part` itself that runs, since statistics
    that move cannot be folded. Where `obstacle(part)` says something, `part` is returned.

    Args:
        part: A functional model with one input.
        bfloat16: Multiplies in bfloat16 (relative error 2**-8 per factor); variables, sums and all
            between the layers stay float32, and so do depthwise products, which would get slower.
            Slow on a CPU without it: see `tlkit.features.cpu.has_bfloat16`.
    """
    return part if obstacle(part) else _folded(part, _Mode(half=bfloat16))


def fold_constant(part: keras.Model) -> Callable:
    """Returns `run(x)`, what `fold` returns for weights that will not change, and quicker.

    What matters in training alone, such as penalties and trainable flags, is no obstacle to it.
    """
    return _folded(part, _Mode(constant=True)) if _is_functional(part) else part


def _folded(part, mode) -> Callable:
    calls = _calls(part, mode)

    def run(x, training=False):
        if training:
            return part(x, training=True)
        return part._run_through_graph(x, operation_fn=lambda operation: calls[id(operation)])

    return run


def obstacle(part: keras.Model) -> str:
    """Says why `part` cannot be folded; empty if it can."""
    if not _is_functional(part) or len(part.inputs) != 1:
        return f"{part.name} is not a functional model with one input"
    for layer in _layers(part):
        rules = (key for key in vars(layer) if key.endswith(("_regularizer", "_constraint")))
        if held := [key for key in rules if getattr(layer, key) is not None]:
            return f"{layer.name} has a {held[0]}"
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            return f"{layer.name} is trainable"
    return ""


@dataclasses.dataclass(frozen=True)
class _Graph:
    """Who makes, who reads, and how often each operation is called."""

    nodes: list
    makers: dict
    readers: dict  # operations, and "outside" for an output of the whole
    uses: collections.Counter

    @classmethod
    def of(cls, part) -> "_Graph":
        nodes = list(surgery.nodes(part))
        makers = {id(t): node for node in nodes for t in node.output_tensors}
        readers = collections.defaultdict(list)
        for node in nodes:
            for tensor in node.input_tensors:
                readers[id(tensor)].append(node.operation)
        for tensor in part.outputs:
            readers[id(tensor)].append("outside")
        uses = collections.Counter(id(node.operation) for node in nodes)
        return cls(nodes, makers, readers, uses)

    def only_reader(self, tensor):
        """Returns the operation that alone reads `tensor` and is called once: they may merge."""
        readers = self.readers[id(tensor)]
        return readers[0] if len(readers) == 1 and self.uses[id(readers[0])] == 1 else None

    def norm_behind(self, node):
        """Returns the normalization that can go into the kernel of `node`'s layer, or None."""
        (tensor,) = node.output_tensors
        norm = self.only_reader(tensor)
        fits = (
            type(norm) is keras.layers.BatchNormalization
            and norm.axis in (-1, len(tensor.shape) - 1)
            and norm.dtype_policy.name == "float32"
            and node.operation.activation is keras.activations.linear
        )
        return norm if fits else None

    def pad_before(self, node):
        """Returns the ZeroPadding2D that TensorFlow's SAME can stand for, or None."""
        before, layer = self.makers.get(id(node.input_tensors[0])), node.operation
        if before is None or self.only_reader(node.input_tensors[0]) is not layer:
            return None
        fits = self.uses[id(before.operation)] == 1 and _pads_as_same(before, layer)
        return before.operation if fits else None


def _calls(part, mode) -> dict[int, Callable]:
    """Returns what to call in place of every operation of `part`."""
    graph = _Graph.of(part)
    calls = {id(op): _plain(op, mode) for op in part.operations}
    for node in graph.nodes:
        layer = node.operation
        if graph.uses[id(layer)] > 1 or not _is_known(layer):
            continue
        norm, pad = graph.norm_behind(node), graph.pad_before(node)
        strides = getattr(layer, "strides", (1, 1))
        padding = "SAME" if pad else getattr(layer, "padding", "same").upper()
        calls[id(layer)] = _Unit(layer, norm, strides, padding, mode)
        calls |= {id(merged): _passed for merged in (norm, pad) if merged}
    return calls


def _layers(part) -> Iterator[keras.layers.Layer]:
    """Yields every layer that folding touches, those of inner models too."""
    for operation in part.operations:
        if _is_functional(operation):
            yield from _layers(operation)
        elif isinstance(operation, (*_KINDS, keras.layers.BatchNormalization)):
            yield operation


def _is_functional(operation) -> bool:
    """`_run_through_graph` is how Keras itself runs such a model; a test guards the name."""
    return isinstance(operation, keras.Model) and hasattr(operation, "_run_through_graph")


def _is_known(layer) -> bool:
    """Exact types only: a subclass may compute something else."""
    if type(layer) not in _KINDS or layer.dtype_policy.name != "float32":
        return False
    return type(layer) is keras.layers.Dense or (
        layer.data_format == "channels_last"
        and layer.padding in ("same", "valid")
        and layer.strides[0] == layer.strides[1]
        and getattr(layer, "groups", 1) == 1
    )


def _pads_as_same(node, layer) -> bool:
    """MobileNet's and EfficientNet's padding before stride 2 is just what SAME would add."""
    pad = node.operation
    if type(pad) is not keras.layers.ZeroPadding2D or getattr(layer, "padding", "") != "valid":
        return False
    sizes = node.input_tensors[0].shape[1:3]
    axes = zip(sizes, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    known = pad.data_format == "channels_last" and None not in sizes
    return known and list(map(tuple, pad.padding)) == [_same_padding(*axis) for axis in axes]


def _same_padding(size, kernel, step, dilation) -> tuple[int, int]:
    total = max((-(-size // step) - 1) * step + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _plain(operation, mode) -> Callable:
    """Returns the operation itself, in inference mode where it knows modes."""
    if _is_functional(operation) and len(operation.inputs) == 1:
        inner = _folded(operation, mode)
        return lambda x, **_: inner(x)
    if "training" not in inspect.signature(operation.call).parameters:
        return operation
    return lambda *args, **kwargs: operation(*args, **{**kwargs, "training": False})


def _passed(x, **_):
    return x


def _kernel_and_bias(unit, kernel):
    """Returns the kernel with the normalization's factor in it, and the bias that is due."""
    layer, norm = unit.layer, unit.norm
    bias = tf.convert_to_tensor(layer.bias) if layer.use_bias else None
    if norm is None:
        return kernel, bias
    factor = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    factor = factor * norm.gamma if norm.scale else factor
    shift = ((0.0 if bias is None else bias) - norm.moving_mean) * factor
    shift = shift + norm.beta if norm.center else shift
    if type(layer) is keras.layers.DepthwiseConv2D:
        factor = tf.reshape(factor, kernel.shape[2:])
    return kernel * factor, shift


def _conv(unit, x, kernel):
    """A 1x1 convolution is a matrix product, whose gradient is much quicker as one.

    Without a gradient a convolution is quicker: TensorFlow fuses it with bias and activation.
    """
    if unit.layer.kernel_size == (1, 1) and not unit.mode.constant:
        step = unit.strides[0]
        return _matmul(unit, x if step == 1 else x[:, ::step, ::step], kernel)
    product = tf.nn.conv2d(
        *_factors(unit, x, kernel), unit.strides, unit.padding, dilations=unit.layer.dilation_rate
    )
    return tf.cast(product, tf.float32)


def _matmul(unit, x, kernel):
    inputs, outputs = kernel.shape[-2:]
    rows, matrix = tf.reshape(x, (-1, inputs)), tf.reshape(kernel, (inputs, outputs))
    product = tf.cast(tf.matmul(*_factors(unit, rows, matrix)), tf.float32)
    return tf.reshape(product, tf.concat([tf.shape(x)[:-1], [outputs]], 0))


def _depthwise(unit, x, kernel):
    steps = (1, *unit.strides, 1)
    dilations = unit.layer.dilation_rate
    return tf.nn.depthwise_conv2d(x, kernel, steps, unit.padding, dilations=dilations)


def _separable(unit, x, kernel):
    depthwise = tf.convert_to_tensor(unit.layer.depthwise_kernel)
    return _matmul(unit, _depthwise(unit, x, depthwise), kernel)


def _factors(unit, x, kernel):
    return [tf.cast(value, tf.bfloat16 if unit.mode.half else tf.float32) for value in (x, kernel)]


# Name of the kernel whose last axes the normalization scales, and the product with it.
_KINDS = {
    keras.layers.Conv2D: ("kernel", _conv),
    keras.layers.DepthwiseConv2D: ("kernel", _depthwise),
    keras.layers.SeparableConv2D: ("pointwise_kernel", _separable),
    keras.layers.Dense: ("kernel", _matmul),
}
