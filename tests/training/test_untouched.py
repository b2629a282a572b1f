"""Whatever a trial run can change about a model is seen, named, and put back where promised."""

import random

import numpy as np
import pytest

from tests.scripted import new_model
from tlkit.errors import AuditError
from tlkit.training import untouched


@pytest.fixture(scope="module")
def model():
    found = new_model()
    found.keras_model.compile("sgd", "mse")
    found.keras_model.optimizer.build(found.keras_model.trainable_variables)
    return found


def norm(model):
    return model.backbone.net.get_layer("norm2")


def nudge(variable):
    """Moves one value of a variable by the least that a float can move."""
    value = np.array(variable.numpy())
    value.flat[0] = np.nextafter(value.flat[0], np.inf, dtype=value.dtype)
    variable.assign(value)


def compile_again(model):
    model.keras_model.compile("sgd", "mse")


CHANGES = {
    "weights": lambda model: nudge(model.variables[0]),
    "trainable flags": lambda model: setattr(norm(model), "trainable", not norm(model).trainable),
    "BatchNorm's mode": lambda model: setattr(model.extractor, "live", not model.extractor.live),
    "BatchNorm's momentum": lambda model: setattr(norm(model), "momentum", 0.5),
    "compilation": compile_again,
    "optimizer": lambda model: nudge(model.keras_model.optimizer.variables[1]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_named_and_may_be_allowed(name, model):
    pair = {name, "optimizer"} if name == "compilation" else {name}
    before = untouched.state(model)
    assert before == untouched.state(model)
    with pytest.raises(AuditError, match=f"The trial has changed .*: {name}"):
        with untouched.untouched(model, "The trial"):
            CHANGES[name](model)
    after = untouched.state(model)
    assert {part for part in before if before[part] != after[part]} <= pair
    norm(model).momentum = 0.9
    with untouched.untouched(model, "The trial", but=tuple(pair)):
        CHANGES[name](model)


def test_dropouts_random_state_counts_as_a_weight(model):
    state = next(v for v in model.variables if "seed" in v.path)
    with pytest.raises(AuditError, match="weights"), untouched.untouched(model, "The trial"):
        state.assign(state.numpy() + 1)


def test_draws_inside_come_from_the_seed_and_leave_those_outside_alone(model):
    def drawn(seed):
        with untouched.untouched(model, "The trial", seed):
            return random.random(), np.random.rand()

    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    one, two, other = drawn(3), drawn(3), drawn(4)
    assert one == two and one[0] != other[0] and one[1] != other[1]
    assert (random.random(), np.random.rand()) == expected


def test_another_error_is_told_and_the_generators_are_put_back(model):
    before = random.getstate(), np.random.get_state()[1].tobytes()
    with pytest.raises(ZeroDivisionError), untouched.untouched(model, "The trial"):
        nudge(model.variables[0])
        raise ZeroDivisionError
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before
