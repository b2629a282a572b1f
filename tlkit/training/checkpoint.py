"""The state of an interrupted run: arrays and plain values in one file, replaced atomically."""

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.models.classifier import Classifier


def write(path: Path, facts: dict[str, Any], groups: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Writes JSON-able `facts` and named lists of arrays to one `.npz` file."""
    arrays = {
        f"{name}/{i}": array for name, group in groups.items() for i, array in enumerate(group)
    }
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with files.replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def write_first(path: Path, model: Classifier) -> None:
    """Writes the checkpoint of a run that has not begun: what `model.keras` does not hold."""
    write(path, {"variables": layout(model.variables)}, {"random": values(random_states(model))})


def read(path: Path) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """Reads what `write` wrote.

    Raises:
        TlkitError: The file is damaged; the message names it.
    """
    groups: dict[str, dict[int, np.ndarray]] = {}
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            facts = json.loads(archive["facts"].tobytes())
            for key in archive.files:
                if key != "facts":
                    name, _, place = key.rpartition("/")
                    groups.setdefault(name, {})[int(place)] = archive[key]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TlkitError(
            f"The checkpoint {path} is damaged ({error}); start the run anew."
        ) from error
    return facts, {name: [group[i] for i in range(len(group))] for name, group in groups.items()}


def values(variables: Iterable[keras.Variable]) -> list[np.ndarray]:
    """Returns copies of the variables' values."""
    return [variable.numpy().copy() for variable in variables]


def assign(variables: Iterable[keras.Variable], arrays: Sequence[np.ndarray]) -> None:
    """Puts `arrays` back into `variables`, one to one."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def random_states(model: Classifier) -> list[keras.Variable]:
    """Returns the state of every random layer; `.keras` files do not hold them."""
    weights = {id(variable) for variable in model.keras_model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def layout(variables: Iterable[keras.Variable]) -> str:
    """Returns a digest of the variables' names and shapes; paths hold counters of the process."""
    return files.combined_hash([(v.name, list(v.shape)) for v in variables])
