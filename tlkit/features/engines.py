"""The frozen part of a classifier as a constant function, run by the quickest engine that agrees.

Weights that do not change can be folded, fused, laid out anew and multiplied in bfloat16. What an
engine answers is compared with Keras on the user's own first batch, and one that differs by more
than the tolerance is refused. An engine is one row of `ENGINES`.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import files
from tlkit.backbones import weights
from tlkit.errors import TlkitError, unknown
from tlkit.features import folding
from tlkit.features.cpu import has_bfloat16

BATCH = 32  # 8 to 128 are equally quick within 5 %, so what counts is memory
GAIN = 1.1  # a timed engine must be this much faster than `constants`
_TIMED_ROWS = 16
MOST_NETWORKS = 12  # converted networks left on disk
_ASIDE = ("name", "trainable")  # of a layer's settings, what makes no other function of it
_VERSION = 2  # raise it when an engine rounds otherwise: kept features are found by it


@dataclasses.dataclass(frozen=True)
class Engine:
    """A compiled function from rows to features.

    For one batch size a row's features are the same bits whichever rows stand beside it and
    wherever it stands among them.

    Attributes:
        name: A key of `ENGINES`.
        call: float32 rows [n, ...], array or tensor, to a tuple of float32 arrays [n, ...], one
            for each output of the part.
        difference: Largest distance of a row of the sample from Keras's, relative to its norm.
        note: Why better engines were left out; empty if none was.
    """

    name: str
    call: Callable[[Any], tuple[np.ndarray, ...]]
    difference: float
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """What an engine is made from."""

    part: keras.Model
    shape: tuple[int, ...]  # of one row

    @functools.cached_property
    def traced(self) -> Any:
        """Keras's own answer for any number of rows, so that a shorter batch compiles nothing."""
        part = self.part
        function = tf.function(
            lambda rows: tuple(keras.tree.flatten(part(rows, training=False))), autograph=False
        )
        return function.get_concrete_function(tf.TensorSpec((None, *self.shape), tf.float32))

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of the part's variables."""
        return weights.fingerprint(self.part.variables)


@dataclasses.dataclass(frozen=True)
class Row:
    """How to make one engine."""

    build: Callable[[Source], Callable]
    missing: Callable[[], str] = str  # says what this machine lacks for it; empty if nothing
    timed: bool = False  # not always faster than `constants`, so it must show it


def compile(
    part: keras.Model, sample: np.ndarray, *, engine: str = "auto", tolerance: float = 1e-2
) -> Engine:
    """Returns the best engine for `part(rows, training=False)` with its present weights.

    Args:
        part: A model with one input. Compile again after its weights change.
        sample: The first batch, [n, ...], rows as they will come.
        engine: A key of `ENGINES`, or `auto` for the first that is there, agrees and is faster.
        tolerance: Largest accepted `Engine.difference`; beyond it the next engine is taken.

    Raises:
        TlkitError: Unknown engine, or one asked for by name that this machine lacks.
    """
    sample = np.asarray(sample, np.float32)
    source = Source(part, sample.shape[1:])
    built = functools.cache(lambda name: ENGINES[name].build(source))
    reference = built("keras")(sample)
    notes = []
    for name in candidates(engine):
        trial = functools.partial(_trial, name, built, sample, reference, tolerance)
        if engine == "auto" and ENGINES[name].timed:
            key = _key(source, name, source.shape, tolerance)
            off, refusal = _kept_trial(
                (files.home() / "engines") / f"{key}.json", trial, name, built, sample
            )
        else:
            off, refusal = trial()
        if not refusal:
            break
        notes.append(f"{name}: {refusal}")  # the last is Keras, which has no other beside it
    return Engine(name, built(name), off, "; ".join(notes))


def candidates(engine: str = "auto") -> tuple[str, ...]:
    """Returns the engines to try on this machine, best first; `keras` is the last.

    Raises:
        TlkitError: Unknown engine, or one that this machine lacks.
    """
    if engine == "auto":
        return tuple(name for name, row in ENGINES.items() if not row.missing())
    if engine not in ENGINES:
        raise unknown("engine", engine, ("auto", *ENGINES))
    if lack := ENGINES[engine].missing():
        raise TlkitError(f"The engine {engine!r} cannot be used here: {lack}.")
    after = list(ENGINES)[list(ENGINES).index(engine) + 1 :]
    return (engine, *(name for name in after if not ENGINES[name].missing()))


def signature(engine: str = "auto") -> str:
    """Returns what a choice depends on besides network and rows, for keys of kept features."""
    packages = [name for name in ("openvino", "tensorflow", "keras") if _installed(name)]
    versions = [f"{name}-{importlib.metadata.version(name)}" for name in packages]
    return " ".join([f"engines-{_VERSION}", *candidates(engine), *versions])


def differences(answers: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> float:
    """Returns the largest `difference` of all outputs."""
    return max(difference(*pair) for pair in zip(answers, references, strict=True))


def difference(answer: np.ndarray, reference: np.ndarray) -> float:
    """Returns the largest distance of a row from its reference, relative to the latter's norm.

    It is infinite where shapes differ or any value is not finite.
    """
    if answer.shape != reference.shape or not np.isfinite(answer).all():
        return float("inf")
    expected = reference.reshape(len(reference), -1).astype(np.float64)
    error = np.linalg.norm(answer.reshape(expected.shape) - expected, axis=1)
    off = error / np.maximum(np.linalg.norm(expected, axis=1), 1e-12)
    return float(np.nan_to_num(off, nan=np.inf).max(initial=0.0))


def _no_bfloat16() -> str:
    return "" if has_bfloat16() else "the CPU does not multiply in bfloat16"


def _no_openvino() -> str:
    return "" if _installed("openvino") else "OpenVINO is not installed; pip install tlkit[fast]"


def _no_openvino_bfloat16() -> str:
    return _no_openvino() or _no_bfloat16()


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _keras(source: Source) -> Callable:
    traced = source.traced
    return lambda rows: tuple(
        output.numpy() for output in traced(tf.convert_to_tensor(rows, tf.float32))
    )


def _constants(source: Source, bfloat16: bool = False) -> Callable:
    """A session, since it takes graph options of its own; elsewhere they are the process's."""
    graph, rows, outputs = _constant_graph(source)
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1 if bfloat16 else 0
    call = tf.compat.v1.Session(graph=graph, config=config).make_callable(outputs, [rows])
    return lambda rows: tuple(call(np.asarray(rows, np.float32)))


def _constant_graph(source: Source) -> tuple[tf.Graph, tf.Tensor, list[tf.Tensor]]:
    """Returns the folded network as a graph with every present value in it, its input, outputs."""
    values = [(variable, variable.numpy()) for variable in source.part.variables]
    run = folding.fold_constant(source.part)
    with tf.Graph().as_default() as graph:
        rows = tf.compat.v1.placeholder(tf.float32, (None, *source.shape))
        constants = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(state_mapping=constants):
            outputs = [tf.identity(output) for output in keras.tree.flatten(run(rows))]
    return graph, rows, outputs


def _openvino(source: Source, precision: str = "bf16") -> Callable:
    """The network in OpenVINO's own format, converted once (about 3 s) and kept by its weights."""
    openvino = _silent_openvino()
    path = (files.home() / "engines") / f"{_key(source)}.xml"
    options = {"INFERENCE_PRECISION_HINT": precision}
    load = functools.partial(openvino.Core().compile_model, path, "CPU", options)
    if not path.exists():
        _convert(source, path)
    try:
        network = load()
    except RuntimeError:  # the kept file is damaged
        _convert(source, path)
        network = load()
    path.touch()
    return lambda rows: tuple(network(np.ascontiguousarray(rows, np.float32)).to_tuple())


def _silent_openvino() -> Any:
    """Imports OpenVINO without its telemetry, which reports every import and conversion.

    It does without that package where there is none; one already imported is its importer's wish.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def _convert(source: Source, path: Path) -> None:
    network = _silent_openvino().convert_model(source.traced)
    with files.replacing(path) as temporary:
        _silent_openvino().save_model(network, temporary, compress_to_fp16=False)
        os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
    for old in files.keep_newest(path.parent, "*.xml", MOST_NETWORKS):
        old.with_suffix(".bin").unlink(missing_ok=True)


# Best first; each that fails gives way to the next.
ENGINES: dict[str, Row] = {
    "openvino_bfloat16": Row(_openvino, _no_openvino_bfloat16, True),
    "bfloat16":          Row(functools.partial(_constants, bfloat16=True), _no_bfloat16, True),
    "openvino":          Row(functools.partial(_openvino, precision="f32"), _no_openvino, True),
    "constants":         Row(_constants),
    "keras":             Row(_keras),
}  # fmt: skip


def _trial(name, built, sample, reference, tolerance) -> tuple[float, str]:
    """Runs an engine on the sample; returns its difference and why it is refused, if it is."""
    try:
        off = differences(built(name)(sample), reference)
    except Exception as error:  # whatever goes wrong in an optional engine, the next one is there
        if name == "keras":
            raise
        return float("inf"), f"{type(error).__name__}: {str(error)[:200]}"
    if off == float("inf"):
        return off, "values that are not finite"
    return off, f"differs by {off:.2g}, more than {tolerance:.2g}" if off > tolerance else ""


def _kept_trial(path, trial, name, built, sample) -> tuple[float, str]:
    """Runs a trial that speed is part of. Verdicts are kept, so that runs agree and start soon."""
    known = files.read_json(path) if path.exists() else {}
    if known.get("refusal"):
        return float("inf"), known["refusal"]
    off, refusal = trial()
    if not known:
        gain = 0 if refusal else _gain(built(name), built("constants"), sample[:_TIMED_ROWS])
        if not refusal and gain < GAIN:
            refusal = f"only {gain:.2f} times as fast as constants"
        files.write_json(path, {"engine": name, "refusal": refusal})
    return off, refusal


def _gain(call, exact, rows) -> float:
    """Returns how many times less CPU time `call` takes: best of three each, taken in turn.

    CPU time, since the verdict is kept and the machine may be busy with other things just now.
    """
    turns = [[_cpu_seconds(function, rows) for function in (exact, call)] for _ in range(4)]
    slow, fast = (min(column[1:]) for column in zip(*turns, strict=True))
    return slow / max(fast, 1e-9)


def _cpu_seconds(function, rows) -> float:
    start = time.process_time()
    function(rows)
    return time.process_time() - start


def _key(source, *values) -> str:
    """Returns a digest of a network with its weights, and of `values`."""
    structure = list(_structure(source.part))
    return files.combined_hash(signature(), structure, source.fingerprint, *values)


def _structure(part) -> Iterator[tuple]:
    for operation in getattr(part, "operations", part.layers):  # a Sequential has layers alone
        if isinstance(operation, keras.Model):
            yield from _structure(operation)
        elif isinstance(operation, keras.layers.Layer):
            config = operation.get_config()
            yield type(operation).__name__, {k: v for k, v in config.items() if k not in _ASIDE}
        else:
            yield (type(operation).__name__,)
