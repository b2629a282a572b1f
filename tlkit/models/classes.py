"""A trained classifier for another list of classes: add, merge, rename and drop.

What is known about a class is a column of the head's last kernel and an element of its bias. A
class that stays keeps both to the bit; all below the last layer is copied.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tlkit.errors import TlkitError, unknown
from tlkit.models.classifier import Classifier

LAST = "logits"  # the layer of every head that has one unit per class
# Takes the old values [..., classes] and whether they are biases; returns those of one class.
Column = Callable[[np.ndarray, bool], np.ndarray]


def update_classes(
    model: Classifier,
    *,
    rename: Mapping[str, str] | None = None,
    drop: Iterable[str] = (),
    merge: Mapping[str, Iterable[str]] | None = None,
    add: Iterable[str] = (),
    order: Sequence[str] | None = None,
) -> Classifier:
    """Returns a new classifier with the changed classes; `model` stays as it is.

    - A class that stays or is renamed keeps its kernel column and bias, bit-equal.
    - A merged class should have the probability of its m members together, whose logit is their
      logsumexp. No linear layer gives that everywhere; the mean of the members plus log m is its
      tangent where they are equally likely, and never above it.
    - An added class starts at the mean of all other columns and biases, so its logit is the mean
      of the others: it is never the answer before it was trained, whatever their scale.

    Training then continues as usual: `updated.fine_tune(data)`. The temperature is kept, though
    it was measured on the old classes.

    Args:
        rename: Old name to new name.
        drop: Old names that go.
        merge: New name to the two or more old names that become it.
        add: New names.
        order: All new names in the order of the logits. Without it they are sorted if the old
            ones were, as `load_images` sorts them; else they keep their places, new ones last.

    Raises:
        TlkitError: A name is not known, used twice or taken, or fewer than two classes remain.
    """
    columns = _columns(model.class_names, dict(rename or {}), set(drop), merge or {}, tuple(add))
    names = _ordered(list(columns), model.class_names, order)
    updated = Classifier(model, names, size=model.rule, head=model.head)
    _copy_head(model, updated, [columns[name] for name in names])
    updated.temperature = model.temperature
    return updated


def _columns(old, rename, drop, merge, add) -> dict[str, Column | None]:
    """Returns new name -> what makes its column (None: added), in the order of the old names."""
    merge = {str(name): tuple(members) for name, members in merge.items()}
    _check(old, rename, drop, merge)
    target = {member: name for name, members in merge.items() for member in members}
    columns: dict[str, Column | None] = {}
    for place, name in enumerate(old):
        if name in target:
            members = [old.index(member) for member in merge[target[name]]]
            columns.setdefault(target[name], _merged(members))
        elif name not in drop:
            _claim(columns, rename.get(name, name), _kept(place))
    for name in add:
        _claim(columns, str(name), None)
    return columns


def _claim(columns: dict[str, Column | None], name: str, column: Column | None) -> None:
    if name in columns:
        raise TlkitError(f"Two classes would be called {name!r}. To make one of them, merge them.")
    columns[name] = column


def _check(old, rename, drop, merge) -> None:
    """Raises for an unknown old name, or one that is renamed, dropped or merged more than once."""
    named = [*rename, *drop, *(member for members in merge.values() for member in members)]
    for name in named:
        if name not in old:
            raise unknown("class", name, old)
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise TlkitError(f"The class {twice[0]!r} is named in two changes. Name it in one.")
    for name, members in merge.items():
        if len(members) < 2:
            raise TlkitError(f"{name!r} merges {list(members)}: give two or more. See also rename.")
        taken = set(old) - set(named) | set(rename.values())
        if name in taken:
            raise TlkitError(f"The merged class {name!r} has the name of a class that stays.")


def _kept(place: int) -> Column:
    return lambda values, is_bias: values[..., place]


def _merged(members: list[int]) -> Column:
    def column(values, is_bias):
        return values[..., members].mean(-1) + (np.log(len(members)) if is_bias else 0.0)

    return column


def _ordered(names: list[str], old: tuple[str, ...], order) -> list[str]:
    if order is None:
        return sorted(names) if list(old) == sorted(old) else names
    order = [str(name) for name in order]
    if sorted(order) != sorted(names):
        raise TlkitError(f"order must hold each of {names} once. Received: {order}.")
    return order


def _copy_head(old: Classifier, new: Classifier, columns: list[Column | None]) -> None:
    for ours, theirs in zip(new.classify.layers, old.classify.layers, strict=True):
        for to, source in zip(ours.weights, theirs.weights, strict=True):
            values = source.numpy()
            if theirs.name == LAST:
                values = _stacked(values, columns)
            to.assign(values)


def _stacked(values: np.ndarray, columns: list[Column | None]) -> np.ndarray:
    is_bias = values.ndim == 1
    known = [None if column is None else column(values, is_bias) for column in columns]
    neutral = np.mean([column for column in known if column is not None], axis=0)
    filled = [neutral if column is None else column for column in known]
    return np.stack(filled, -1).astype(values.dtype)
