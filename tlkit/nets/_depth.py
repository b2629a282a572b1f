"""Room for very deep nets."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

FRAMES = 40_000


@contextmanager
def deep_graphs() -> Iterator[None]:
    """Lets Keras walk graphs of thousands of layers while it makes a functional model.

    It calls itself once or twice per layer, so that ResNet-1202 passes Python's usual limit of
    1,000 calls. Loading such a model needs it as much as building it does.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
