"""What a built net must be: its published numbers, its drawing, its stages."""

import gc
from math import prod

import keras

from tests import published
from tests.published import graph, keras_graph
from tlkit import nets
from tlkit.nets import _count


def assert_published(name):
    """Compares the net at its published size with its record and with its drawing."""
    net, model = nets.info(name), nets.build(name, init="zeros")
    _assert_counts(model, net)
    _assert_initialised(model)
    assert_drawn(model, published.NETS[name](), net.stages)
    del model
    if (net.params or 0) > 15_000_000:
        gc.collect()  # Python's own collection knows nothing of its gigabytes


def assert_drawn(model, steps, ends):
    """Compares the model with a drawing; `ends`: (stage, last layer of it) in order."""
    stages, outputs = published.drawn(steps)
    nodes = keras_graph.read(model)
    built = keras_graph.ends(model, nodes)
    if [node.key for node in built] != [node.key for node in outputs]:
        assert graph.listing(*built) == graph.listing(*outputs)
    assert [stage for stage, _ in ends] == list(stages)
    for stage, last in ends:
        assert nodes[last].key == stages[stage].key, f"stage {stage} must not end with {last}"
        assert _crossing(built[0], nodes[last]) == {nodes[last].key}, f"{last} is no cut"


def _crossing(output, end):
    """Returns the keys below `end` that anything above it reads: a cut has one."""
    before, main = _below(end), _below(output)
    above = [node for key, node in main.items() if key not in before]
    return {read.key for node in above for read in node.inputs if read.key in before} or {end.key}


def _below(node):
    found, todo = {}, [node]
    while todo:
        current = todo.pop()
        if current.key not in found:
            found[current.key] = current
            todo += current.inputs
    return found


def _assert_counts(model, net):
    assert _size(model.trainable_weights) == net.params
    assert model.count_params() == (net.params if net.total is None else net.total)
    assert _count.macs(model) == net.macs
    assert _count.activations(model) == net.activation_bytes
    outputs = keras.tree.flatten(model.output)
    assert {tuple(t.shape) for t in outputs} == {(None, net.classes)}
    if net.connections is not None:
        assert _count.connections(model) == net.connections


def _size(weights):
    return sum(prod(weight.shape) for weight in weights)


def _assert_initialised(model):
    """Every kernel asks the initialiser that was chosen, here that of zeros."""
    kinds = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
    for layer in model.layers:
        for kind in kinds:
            chosen = getattr(layer, kind, None)
            assert chosen is None or isinstance(chosen, keras.initializers.Zeros), layer.name
