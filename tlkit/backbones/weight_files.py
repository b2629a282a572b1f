"""Reading every kind of file that Keras ever put weights into, for one given network.

A file is compared with the network in full before the first variable changes, so a wrong file
leaves the network as it was.
"""

import contextlib
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tlkit.errors import TlkitError

# What the ImageNet files of EfficientNet hold in their normalization layer: the mean, and the
# standard deviation in place of the variance, which Keras mends with one more layer.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# An array of the file that the network did not ask for is named by its layer.
Layers = list[tuple[str, list[np.ndarray]]]


def fill(net: keras.Model, path: Path) -> None:
    """Gives `net` the values in the file.

    Takes `.weights.h5` and `.keras` of Keras 3 and `.h5` of Keras 2, told apart by content, with
    or without a classifier on top, and finds the network inside a larger model (Keras 3 only).

    Raises:
        TlkitError: The file is damaged or of another network; the first layer that differs is
            named. `net` keeps its values.
    """
    with _opened(path) as file:
        (_fill_legacy if "layer_names" in file.attrs else _fill)(net, file, path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.Group]:
    """Yields the HDF5 group with the weights, whatever container Keras put it in."""
    try:
        source: Any = path
        if zipfile.is_zipfile(path):
            source = io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5"))
        with h5py.File(source, "r") as file:
            yield file["model_weights"] if "model_weights" in file else file
    except (OSError, KeyError, zipfile.BadZipFile) as error:  # also from reading inside the block
        raise TlkitError(
            f"{path} cannot be read as Keras weights ({error}). It may be cut off or something "
            "else; get it again, or use another --weights."
        ) from error


# Keras 2: one group per layer in order of depth, arrays named in an attribute.


def _fill_legacy(net: keras.Model, file: h5py.Group, path: Path) -> None:
    """Assigns by order, as Keras does: names such as conv2d_17 differ from build to build."""
    found = [(name, arrays) for name, arrays in _legacy_layers(file) if arrays]
    statistics = [entry for entry in found if _is_normalization(entry[1])]
    found = [entry for entry in found if not _is_normalization(entry[1])]
    wanted = [layer for layer in net.layers if layer.weights]
    for i, layer in enumerate(wanted):
        shapes = [tuple(v.shape) for v in layer.weights]
        got = [a.shape for a in found[i][1]] if i < len(found) else None
        if shapes != got:
            raise _mismatch(net, path, layer.name, shapes, got)
    _check_rest(net, path, statistics + found[len(wanted) :])
    for layer, (_, arrays) in zip(wanted, found, strict=False):
        for variable, array in zip(layer.weights, arrays, strict=True):
            variable.assign(array)


def _legacy_layers(file: h5py.Group) -> Iterator[tuple[str, list[np.ndarray]]]:
    for raw in file.attrs["layer_names"]:
        group = file[_text(raw)]
        yield _text(raw), [np.asarray(group[_text(w)]) for w in group.attrs["weight_names"]]


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw


# Keras 3: groups named by class and counter, nested as the objects are.


def _fill(net: keras.Model, file: h5py.Group, path: Path) -> None:
    """Compares with Keras's own file of `net`, which tells what belongs to which layer."""
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / "net.weights.h5")
        net.save_weights(copy)
        with h5py.File(copy, "r+") as wanted:
            keys = _ordered(net, wanted)
            home = max(_homes(file), key=lambda group: _fit(group, wanted, keys))
            for key in keys:
                if _shape(home, key) != wanted[key].shape:
                    name = _layer_name(wanted, key)
                    raise _mismatch(net, path, name, wanted[key].shape, _shape(home, key))
            _check_rest(net, path, _rest(home, set(keys)))
            if layers := _owners(net, wanted, keys):
                held = {g: {key: home[g][key][()] for key in home[g]} for g in layers}
                for group, layer in layers.items():  # only now, when all could be read
                    layer.load_own_variables(held[group])
                return
            for key in keys:
                wanted[key][...] = home[key][...]
        net.load_weights(copy)


def _owners(net: keras.Model, file: h5py.Group, keys: list[str]) -> dict[str, keras.layers.Layer]:
    """Returns the layer of each group of arrays; none of them if a layer lies inside another.

    To give each layer its arrays takes half the time of letting Keras load a changed copy.
    """
    groups = dict.fromkeys(key.rpartition("/")[0] for key in keys)
    flat = all(group.startswith("layers/") and group.count("/") == 2 for group in groups)
    known = {layer.name: layer for layer in net.layers}
    names = [str(file[group].attrs.get("name", "")) for group in groups]
    if not flat or not set(names) <= set(known) or len(set(names)) < len(names):
        return {}
    return {group: known[name] for group, name in zip(groups, names, strict=True)}


def _ordered(net: keras.Model, file: h5py.Group) -> list[str]:
    """Returns the keys of all arrays but random generators' states, in order of depth."""
    depth = {layer.name: i for i, layer in enumerate(net.layers)}
    return sorted(_arrays(file), key=lambda k: (depth.get(_layer_name(file, k, outer=True), -1), k))


def _arrays(group: h5py.Group) -> list[str]:
    keys: list[str] = []
    group.visititems(lambda k, v: keys.append(k) if isinstance(v, h5py.Dataset) else None)
    return [key for key in keys if "seed_generator" not in key]


def _homes(file: h5py.Group) -> list[h5py.Group]:
    """Returns the places in a file where a network may be: the file and all models inside."""
    homes = [file]
    file.visititems(
        lambda _, v: homes.append(v) if isinstance(v, h5py.Group) and "layers" in v else None
    )
    return homes


def _fit(group: h5py.Group, wanted: h5py.Group, keys: list[str]) -> int:
    return sum(_shape(group, key) == wanted[key].shape for key in keys)


def _shape(group: h5py.Group, key: str) -> tuple | None:
    return group[key].shape if key in group else None


def _layer_name(file: h5py.Group, key: str, outer: bool = False) -> str:
    """Returns the name of the layer that owns the array, or of the outermost one around it."""
    group = "/".join(key.split("/")[:2]) if outer else key.rsplit("/vars/", 1)[0]
    own = f"{group}/vars"
    return str(file[own].attrs.get("name", group)) if own in file else group


def _rest(home: h5py.Group, used: set[str]) -> Layers:
    """Returns what a file holds beyond the network: (group, arrays) in no special order."""
    groups: dict[str, list[np.ndarray]] = {}
    for key in _arrays(home["layers"] if "layers" in home else home):
        if f"layers/{key}" not in used:
            groups.setdefault(key.split("/")[0], []).append(home[f"layers/{key}"][()])
    return list(groups.items())


# What both formats share.


def _check_rest(net: keras.Model, path: Path, rest: Layers) -> None:
    """Accepts a classifier on top (dense, or 1x1 convolutions), refuses a deeper network."""
    for name, arrays in rest:
        if _is_normalization(arrays):
            _check_normalization(name, arrays, path)
        elif any(a.ndim == 4 and a.shape[:2] != (1, 1) for a in arrays):
            raise TlkitError(
                f"{path} holds a deeper network than {net.name}: it goes on with layer {name!r}, "
                f"{[a.shape for a in arrays]}. Choose the backbone that the file belongs to."
            )


def _is_normalization(arrays: list[np.ndarray]) -> bool:
    """Knows `keras.layers.Normalization` by its mean, variance and scalar count."""
    return len(arrays) == 3 and arrays[2].shape == ()


def _check_normalization(name: str, arrays: list[np.ndarray], path: Path) -> None:
    """Refuses a network that was trained on other pixel statistics than ours will give it."""
    mean, variance = np.ravel(arrays[0]), np.ravel(arrays[1])
    imagenet = mean.shape == (3,) and np.allclose(mean, _MEAN, atol=1e-3)
    if not imagenet or not any(
        np.allclose(variance, v, atol=1e-3) for v in (_STD, np.square(_STD))
    ):
        raise TlkitError(
            f"{path} was trained on pixels with mean {mean.tolist()} and variance "
            f"{variance.tolist()} (layer {name!r}), not with ImageNet's mean {list(_MEAN)}, "
            "which this backbone's preprocessing uses. It would answer wrongly here."
        )


def _mismatch(net: keras.Model, path: Path, layer: str, shapes: Any, got: Any) -> TlkitError:
    needed, held = (_brief(x) for x in (shapes, got))
    return TlkitError(
        f"{path} does not fit {net.name}: layer {layer!r} needs {needed}, the file holds {held}. "
        "Choose the backbone (and width) that the file belongs to."
    )


def _brief(shapes: Any) -> str:
    if not shapes:
        return "nothing"
    if isinstance(shapes, list) and len(shapes) > 6:
        return f"{len(shapes)} arrays ({shapes[0]}, ...)"
    return str(shapes)
