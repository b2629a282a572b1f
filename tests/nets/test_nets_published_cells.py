"""Nets of searched cells: their published numbers, and every layer of them as drawn."""

import pytest

from tests.published import cells
from tests.published.contract import assert_published


@pytest.mark.parametrize("name", cells.NETS)
def test_the_net_is_as_published(name):
    assert_published(name)
