"""Classic networks from scratch: one file per family, one table per file, one builder for all.

A family is a module of this package with `NETS` (name -> `Net`), `features(variant)` and
`top(variant, classes)`, both yielding (layer name, row). It may have `auxiliary(variant, classes)`,
a dict from the name of a feature row to the rows of a head that reads it while training.
Nothing is registered: a new file is a new family.
"""

import dataclasses
import importlib
import pkgutil
from types import ModuleType

import keras

from tlkit.errors import TlkitError, unknown
from tlkit.nets._count import layer_rows
from tlkit.nets._count import macs as macs
from tlkit.nets._depth import deep_graphs as deep_graphs
from tlkit.nets._spec import Net, Options, size_error


def names() -> list[str]:
    """Returns the names of all nets, sorted."""
    return sorted(name for family in _families() for name in family.NETS)


def families() -> dict[str, list[str]]:
    """Returns the names of the nets of each family, a family being a file."""
    return {family.__name__.rpartition(".")[2]: sorted(family.NETS) for family in _families()}


def info(name: str) -> Net:
    """Returns what is published of the net. Raises `TlkitError` for an unknown name."""
    return _find(name)[1]


def stages(name: str) -> tuple[tuple[str, str], ...]:
    """Returns (stage, last layer of it) in depth order; together they hold all of `features`.

    One tensor crosses each boundary, so a net may be frozen, cut or cached there.
    """
    return info(name).stages


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    norm: str | None = None,
    activation: str | None = None,
    init: str | None = None,
) -> keras.Model:
    """Returns the net: float32 preprocessed pixels (n, height, width, channels) -> logits.

    What is not given is as published. `norm`, `activation`, `init`: see `tlkit.nets._spec`.
    Nets with auxiliary heads have one more output per head, each of logits.
    Raises `TlkitError` for unknown names and for inputs too small for the net.
    """
    family, net = _find(name)
    classes = net.classes if classes is None else _positive(classes)
    rows = (*family.features(net.variant), *family.top(net.variant, classes))
    aux = family.auxiliary(net.variant, classes) if hasattr(family, "auxiliary") else {}
    options = net.options.choose(norm, activation, init)
    return _assemble(_Wanted(name, input_shape or net.input_shape, options), rows, aux)


def features(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    norm: str | None = None,
    activation: str | None = None,
    init: str | None = None,
) -> keras.Model:
    """Returns the net without its top: a feature map, or the last hidden vector of dense nets.

    Layers have the names they have in `build`, so weights carry over by name.
    """
    family, net = _find(name)
    options = net.options.choose(norm, activation, init)
    wanted = _Wanted(name, input_shape or net.input_shape, options)
    return _assemble(wanted, family.features(net.variant), {})


def layer_table(net: str | keras.Model) -> list[dict]:
    """Returns one dict per layer with weights or windows: layer, output, params, macs,
    receptive_field, stride (both in input pixels), bytes (of the float32 output, one image)."""
    return layer_rows(build(net, init="zeros") if isinstance(net, str) else net)


def table() -> list[dict]:
    """Returns one dict per net with the published numbers; builds nothing."""
    return [_summary(name, info(name)) for name in names()]


def _summary(name, net):
    return {
        "name": name,
        "year": net.year,
        "input": net.input_shape,
        "params": net.params if net.total is None else net.total,
        "trainable_params": net.params,
        "macs": net.macs,
        "activation_bytes": net.activation_bytes,
        "error": net.error,
        "source": net.source,
    }


def _positive(classes):
    if classes < 1:
        raise TlkitError(
            f"A net needs at least one class, not {classes}. Use `features` for a net without top."
        )
    return classes


def _families() -> list[ModuleType]:
    modules = (
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    )
    return [module for module in modules if hasattr(module, "NETS")]


def _find(name):
    for family in _families():
        if name in family.NETS:
            return family, family.NETS[name]
    raise unknown("net", name, names())


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """What was asked for: each row is made by the options, and an error names net and input."""

    name: str
    input_shape: tuple[int, int, int]
    options: Options


def _assemble(wanted: _Wanted, rows, aux) -> keras.Model:
    inputs = x = keras.Input(wanted.input_shape, name="image")
    heads = []
    for row_name, row in rows:
        x = _apply(row, x, row_name, wanted)
        if row_name in aux:
            heads.append(_chain(aux[row_name], x, wanted))
    name = wanted.name.replace(".", "-")
    with deep_graphs():
        return keras.Model(inputs, [x, *heads] if heads else x, name=name)


def _chain(rows, x, wanted: _Wanted):
    for row_name, row in rows:
        x = _apply(row, x, row_name, wanted)
    return x


def _apply(row, x, row_name: str, wanted: _Wanted):
    try:
        y = row(x, row_name, wanted.options)
    except TlkitError:
        raise
    except ValueError as error:
        raise size_error(wanted.name, row_name, wanted.input_shape, _shapes(x)) from error
    if any(size == 0 for shape in _shapes(y) for size in shape):
        raise size_error(wanted.name, row_name, wanted.input_shape, _shapes(x))
    return y


def _shapes(tensors):
    return [tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(tensors)]
