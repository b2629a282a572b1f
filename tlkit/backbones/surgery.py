"""Cutting a functional network where exactly one tensor crosses.

At such a place the frozen lower part is a function from pixels to one tensor, which can be cached.
Parts share their layers with the network, so training a part trains the network.
"""

import collections
from collections.abc import Iterable, Iterator

import keras

from tlkit.errors import TlkitError, unknown

# What belongs to the layer before it: a cut must not come between the two.
_FINISHING = (
    keras.layers.BatchNormalization,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.Dropout,
)
_WEIGHTED = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


def cut_points(net: keras.Model) -> list[tuple[str, keras.KerasTensor]]:
    """Returns the legal cuts as (name of the operation before the cut, tensor), first to last.

    The input and the output are among them. The network must have one input and one output; an
    operation that is called more than once is no address and is left out.
    """
    if len(net.inputs) != 1 or len(net.outputs) != 1:
        raise TlkitError(f"{net.name} has {len(net.inputs)} inputs and {len(net.outputs)} outputs; "
                         "only a network with one of each can be cut.")  # fmt: skip
    listed = list(nodes(net))
    calls = collections.Counter(node.operation.name for node in listed)
    waiting = collections.Counter(id(t) for node in listed for t in node.input_tensors)
    waiting.update(id(t) for t in net.outputs)
    live, cuts = set(), []
    for node in listed:
        for tensor in node.input_tensors:
            waiting[id(tensor)] -= 1
            if not waiting[id(tensor)]:
                live.discard(id(tensor))
        live.update(id(t) for t in node.output_tensors if waiting[id(t)])
        if len(live) == 1 and len(node.output_tensors) == 1 and calls[node.operation.name] == 1:
            cuts.append((node.operation.name, node.output_tensors[0]))
    return cuts


def clean_cuts(net: keras.Model) -> list[str]:
    """Returns the names of the legal cuts that lie at the end of a block.

    That leaves out cuts between a convolution and its normalization, or between a normalization
    and its activation: training the upper half of such a pair alone harms both.
    """
    readers: dict[int, list[keras.Operation]] = collections.defaultdict(list)
    for node in nodes(net):
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node.operation)
    makers = {id(t): node.operation for node in nodes(net) for t in node.output_tensors}
    # With several readers it is the next block that starts with an activation, as in NASNet.
    torn = {
        makers[t].name for t, ops in readers.items() if len(ops) == 1 and _torn(makers[t], *ops)
    }
    return [name for name, _ in cut_points(net) if name not in torn]


def split(net: keras.Model, boundary: str) -> tuple[keras.Model, keras.Model]:
    """Returns (stem, tail) with `tail(stem(x))` bit-equal to `net(x)`; both share its layers.

    Args:
        boundary: Name of the last operation of the stem, one of `cut_points(net)`.
    """
    cuts = dict(cut_points(net))
    if boundary not in cuts:
        raise _no_cut(net, boundary, cuts)
    # `net.input`, not `net.inputs`: a list would make Keras warn about the structure at every call.
    stem = keras.Model(net.input, cuts[boundary], name=f"{net.name}_stem")
    start, end = cuts[boundary], net.output
    if start is end:  # Keras takes no model without operations unless it starts at an Input.
        start = end = keras.Input(batch_shape=end.shape, dtype=end.dtype)
    return stem, keras.Model(start, end, name=f"{net.name}_tail")


def tensor_at(net: keras.Model, name: str) -> keras.KerasTensor:
    """Returns the output of operation `name` inside `net`, whether or not it is a legal cut.

    `net.get_layer(name).output` would be the first graph the layer was ever used in, which after
    a `split` or inside a nested model is another one.
    """
    found = {n.operation.name: n.output_tensors[0] for n in nodes(net) if n.output_tensors}
    if name not in found:
        raise unknown(f"operation of {net.name}", name, found)
    return found[name]


def segments(net: keras.Model, boundaries: Iterable[str]) -> list[list[keras.Operation]]:
    """Returns the operations of `net` in depth order, parted after each boundary.

    The last boundary must be the output, so that nothing is left over.
    """
    order = [node.operation for node in nodes(net)]
    ends = [_position(net, order, name) + 1 for name in boundaries]
    if ends != sorted(set(ends)) or not ends or ends[-1] != len(order):
        raise TlkitError(f"{net.name}: boundaries must rise and end at the output.")
    return [order[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def layers_with_weights(operations: Iterable[keras.Operation]) -> list[keras.layers.Layer]:
    """Returns the layers among `operations` that hold weights, each once."""
    return list({id(op): op for op in operations if getattr(op, "weights", None)}.values())


def nodes(net: keras.Model) -> Iterator:
    """Yields the calls inside `net`, inputs first.

    `operations` is public but has no edges, and a layer's own `input` and `output` belong to the
    first graph it was used in. So this reads a private table; a test guards it.
    """
    for depth in sorted(net._nodes_by_depth, reverse=True):
        yield from net._nodes_by_depth[depth]


def _torn(before: keras.Operation, after: keras.Operation) -> bool:
    """Says whether a cut between two operations would take a layer apart."""
    if isinstance(before, keras.layers.BatchNormalization):
        return isinstance(after, _FINISHING[1:])
    return isinstance(before, _WEIGHTED) and isinstance(after, _FINISHING)


def _position(net: keras.Model, order: list[keras.Operation], name: str) -> int:
    cuts = dict(cut_points(net))
    if name not in cuts:
        raise _no_cut(net, name, cuts)
    return next(i for i, op in enumerate(order) if op.name == name)


def _no_cut(net: keras.Model, name: str, cuts: Iterable[str]) -> TlkitError:
    if any(op.name == name for op in net.operations):
        return TlkitError(
            f"{net.name} cannot be cut after {name!r}: more than one tensor crosses there. "
            f"Possible: {', '.join(cuts)}."
        )
    return unknown(f"cut of {net.name}", name, cuts)
