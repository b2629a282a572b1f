"""The auditor: what was declared frozen is bit-equal afterwards, what was declared open moved.

Keras breaks both promises in silence: BatchNorm statistics drift in frozen layers, and a change
of `trainable` without `compile` has no effect. An audit compares digests of the values before and
after, so it needs no trust in any flag.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import keras

from tlkit.backbones import weights
from tlkit.errors import AuditError
from tlkit.text import listed


class Audit:
    """Remembers values at its making and checks them later.

    Args:
        frozen: Variables that must stay bit-equal.
        open_groups: Group name -> variables of which some must move, such as a stage or the head.
        before: What `state` returned in an interrupted run, to go on with its audit.
    """

    def __init__(
        self,
        frozen: Sequence[keras.Variable],
        open_groups: Mapping[str, Sequence[keras.Variable]],
        before: dict | None = None,
    ):
        self.frozen = list(frozen)
        self.open_groups = {name: list(group) for name, group in open_groups.items() if group}
        self._before = before or self._digests()

    def _digests(self) -> dict:
        groups = {name: _digests(group) for name, group in self.open_groups.items()}
        return {"frozen": _digests(self.frozen), "open": groups}

    def state(self) -> dict:
        """Returns the remembered digests as plain values for JSON."""
        return self._before

    def check(self, trained: bool = True) -> None:
        """Raises AuditError if a frozen variable moved or, after training, an open group did not.

        Args:
            trained: False checks the frozen variables only.
        """
        now = self._digests()
        pairs = zip(self.frozen, self._before["frozen"], now["frozen"], strict=True)
        moved = [variable.path for variable, old, new in pairs if old != new]
        if moved:
            raise AuditError(
                f"{len(moved)} variables declared frozen have changed: {listed(moved)}. "
                "Something trained or updated them; the result is not what the phases say."
            )
        still = [
            name for name in self.open_groups if now["open"][name] == self._before["open"][name]
        ]
        if trained and still:
            raise AuditError(
                f"Declared trainable, but no variable moved in: {listed(still)}. Was `trainable` "
                "changed after `compile`? Keras ignores the change until the next `compile`. "
                "If not, every gradient there was zero: raise the rate or change the weights."
            )


@contextlib.contextmanager
def audited(model: keras.Model, statistics: str = "frozen") -> Iterator[Audit]:
    """Audits any Keras training done inside the block, by the model's own `trainable` flags.

    Args:
        model: Any Keras model.
        statistics: `frozen` demands that BatchNorm's moving statistics stay; `train` lets
            those of trainable layers move.

    Raises:
        AuditError: On leaving the block, if a promise was broken.
    """
    open_groups: dict[str, list[keras.Variable]] = {}
    for variable in model.trainable_variables:
        open_groups.setdefault(variable.path.rpartition("/")[0], []).append(variable)
    frozen = model.non_trainable_weights
    if statistics == "train":
        free = {id(v) for layer in _layers(model) if layer.trainable for v in layer.weights}
        frozen = [variable for variable in frozen if id(variable) not in free]
    audit = Audit(frozen, open_groups)
    yield audit
    audit.check()


def _layers(layer) -> Iterator[keras.layers.Layer]:
    """Yields every innermost layer, through nested models and wrapped backbones."""
    inner = getattr(layer, "layers", None) or ([layer.net] if hasattr(layer, "net") else [])
    for child in inner:
        yield from _layers(child)
    if not inner:
        yield layer


def _digests(variables) -> list[str]:
    return [weights.fingerprint([variable]) for variable in variables]
