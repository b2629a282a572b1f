"""Rows of branches, for the Inception families: side by side (`Branches`) or as a residual."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras import layers

from tlkit.nets._rows import Activation, Conv
from tlkit.nets.resnet import refuse_maxout


@dataclass(frozen=True)
class Branches:
    """Chains of rows that read the same map; their outputs are concatenated. An empty chain hands
    its input on. Layers are named NAME_b1_1, NAME_b1_2, ... by branch and step."""

    chains: tuple[tuple, ...]

    def __call__(self, x, name, options):
        ends = [
            _chain(rows, x, f"{name}_b{index}", options)
            for index, rows in enumerate(self.chains, start=1)
        ]
        return layers.Concatenate(name=name)(ends)


def branches(*chains: Any) -> Branches:
    """Returns `Branches` of chains; a chain of one row may be given as the row."""
    return Branches(tuple(chain if isinstance(chain, tuple) else (chain,) for chain in chains))


@dataclass(frozen=True)
class ScaledResidual:
    """x + scale * (linear 1x1 with bias of the branches), then the activation: Szegedy et al. 2017,
    section 3.3. The 1x1 brings the branches to the depth of x and is not normalized."""

    inner: Branches
    scale: float
    activation: str | None = None

    def __call__(self, x, name, options):
        refuse_maxout(name, options)
        y = self.inner(x, f"{name}_mixed", options)
        linear = Conv(x.shape[-1], 1, norm=False, activation="linear", bias=True)
        y = layers.Rescaling(self.scale, name=f"{name}_scale")(linear(y, f"{name}_up", options))
        return Activation(self.activation)(layers.Add(name=name)([x, y]), name, options)


def repeated(name: str, row, count: int) -> Iterator[tuple]:
    """Yields the row `count` times, as NAME_1, NAME_2, ..."""
    for index in range(1, count + 1):
        yield f"{name}_{index}", row


def _chain(rows, x, name, options):
    for step, row in enumerate(rows, start=1):
        x = row(x, f"{name}_{step}", options)
    return x
