"""The classic nets as their papers draw them, apart from the code that builds them.

What counts of weights and multiply-adds cannot see is said here: the order of branches, padding,
kinds of pooling, constants of a normalization, where an activation or dropout stands.
"""

from tests.published import cells, inception, plain, residual

NETS = {**plain.NETS, **residual.NETS, **inception.NETS, **cells.NETS}


def drawn(steps):
    """Returns ({stage: its last node}, [nodes of all outputs])."""
    steps = list(steps)
    return {name: node for name, node in steps if name}, [node for name, node in steps if not name]
