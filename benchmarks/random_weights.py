"""Random weights that behave like trained ones, for timing where no real weights are given.

A deep net with plain random weights and BatchNorm in inference mode answers with almost nothing,
so gradients vanish and no training is worth the name. Here every BatchNorm holds the statistics
that the generated photos have there, so signals keep their size all the way up.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.worker import labelled
from benchmarks.works import Work
from tlkit.errors import TlkitError

ROOT = Path(__file__).parent.parent
SAMPLE = 64  # images the statistics are taken from


def weights_file(cache: Path, work: Work, folder: Path) -> str:
    """Returns the path of such weights for a work's net, making the file in a process of its own.

    Args:
        folder: The work's prepared images.
    """
    path = cache / f"random-{work.backbone}-{work.size}.weights.h5"
    if not path.exists():
        arguments = [work.backbone, str(work.size), str(folder / "photos" / "train"), str(path)]
        command = [sys.executable, "-m", "benchmarks.random_weights", *arguments]
        env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
        made = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if made.returncode:
            raise TlkitError(f"The random weights could not be made:\n{made.stderr}")
    return str(path)


def make(backbone: str, size: int, photos: str, path: str) -> None:
    """Builds the net, sets its BatchNorm statistics from photos and writes the weights."""
    import keras
    import numpy as np

    from benchmarks import keras_guide as guide
    from tlkit import files

    keras.utils.set_random_seed(0)
    constructor, arguments, _ = guide.APPLICATIONS[backbone]
    net = constructor(include_top=False, weights=None, input_shape=(size, size, 3), **arguments)
    work = Work("", "", 1, 1, 0, backbone=backbone, size=size)
    names = labelled(photos)[0]
    chosen = names[:: max(len(names) // SAMPLE, 1)][:SAMPLE]
    images = np.concatenate([batch.numpy() for batch in guide.pictures(chosen, work)])
    norms = [layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0  # one pass replaces the statistics altogether
    net(guide.preprocess(images, work), training=True)
    with files.replacing(path) as temporary:
        whole = temporary.with_name(temporary.name.removesuffix(".h5") + ".weights.h5")
        net.save_weights(whole)
        whole.replace(temporary)


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
