"""The embedded default: a net learns the digits 0-4, then helps with 5-9 from few examples.

Everything goes the way a user's photos go: image files in class folders, `load_images`,
`Classifier`, `fine_tune`, report, export, and a prediction from an image file.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit import progress
from tlkit.evaluation import bootstrap
from tlkit.images.dataset import load_images
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase
from tlkit.serving import saved_model
from tlkit.serving.export import export
from tlkit.training.run import Run
from tlkit.workflows.fine_tuning import fine_tune
from tlkit.workflows.reports import report

NET = "resnet-20"
RULE = PixelRule(32, "squash")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHOTS = 10  # labelled training examples of each new digit
SHARED: dict[str, Any] = {"augment": "digits", "smoothing": 0.0, "batch_size": 16, "patience": 99}


def run_demo(out: Path, quick: bool = False) -> None:
    """Runs the demo into `out`, or `out-2` and so on if that is taken, and prints what it finds."""
    out = next(path for path in _numbered(out) if not path.exists())
    source, target = out / "digits_0-4", out / "digits_5-9"
    write_digits(source / "train", range(5), slice(0, 120))
    write_digits(target / "train", range(5, 10), slice(0, SHOTS))
    write_digits(target / "val", range(5, 10), slice(SHOTS, SHOTS + 10))
    write_digits(target / "test", range(5, 10), slice(SHOTS + 10, None))
    progress.say("1 of 3: a small net learns the digits 0-4")
    net = "lenet-5-modern" if quick else NET
    teacher = _train(source, net, out / "teacher", [scratch_phase(2 if quick else 10)])
    progress.say(f"2 of 3: its backbone is transferred to 5-9, {SHOTS} examples of each")
    epochs = 4 if quick else 30
    transfer = _train(target, teacher.folder, out / "transfer", transfer_phases(epochs))
    progress.say("3 of 3: the same examples and epochs without transfer")
    scratch = _train(target, net, out / "scratch", [scratch_phase(epochs)])
    _compare(transfer, scratch)
    _use(transfer, out, target)


def _numbered(folder: Path) -> Iterator[Path]:
    yield folder
    for number in itertools.count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def write_digits(folder: Path, digits: Iterable[int], part: slice) -> None:
    """Writes scikit-learn's 8x8 handwritten digits as PNG files, one folder for each digit.

    Args:
        part: Which of each digit's examples, in a fixed random order: neighbours in the
            collection are by the same hand.
    """
    from sklearn.datasets import load_digits

    collection = load_digits()
    for digit in digits:
        examples = np.flatnonzero(collection.target == digit)
        chosen = np.random.default_rng(digit).permutation(examples)[part]
        (folder / NAMES[digit]).mkdir(parents=True, exist_ok=True)
        for place in chosen:
            gray = (collection.images[place] * 255 / 16).astype(np.uint8)
            Image.fromarray(gray).resize((32, 32), Image.Resampling.BICUBIC).save(
                folder / NAMES[digit] / f"{place:04d}.png"
            )


def scratch_phase(epochs: int) -> Phase:
    """Returns the phase that trains everything from random values."""
    return Phase(
        "from scratch",
        unfreeze="all",
        epochs=epochs,
        rate=1e-3,
        decay=1.0,
        batch_norm="train",
        views=epochs,
        **SHARED,
    )


def transfer_phases(epochs: int) -> list[Phase]:
    """Returns the two phases of a transfer that take `epochs` together."""
    head = max(epochs // 5, 1)
    return [
        Phase("head", epochs=head, rate=1e-2, **SHARED),
        Phase(
            "fine-tune",
            unfreeze="all",
            epochs=epochs - head,
            rate=1e-3,
            decay=1.0,
            batch_norm="train",  # 510 tiny images of five digits: no statistics to hold on to
            **SHARED,
        ),
    ]


def _train(photos: Path, backbone: str | Path, out: Path, phases: Sequence[Phase]) -> Run:
    data = load_images(photos)
    model = Classifier(backbone, data.class_names, weights=None, size=RULE)
    return fine_tune(model, data, phases, out=out)


def _compare(transfer: Run, scratch: Run) -> None:
    first, second = transfer.evaluate(), scratch.evaluate()
    print(f"\nTransferred from 0-4\n{first}\n\nFrom scratch\n{second}\n")
    test = transfer.require_data().test
    right = [run.correct(test) for run in (transfer, scratch)]
    print("Transfer against scratch:", bootstrap.paired_difference(*right)["verdict"])


def _use(run: Run, out: Path, target: Path) -> None:
    print(f"\nReport:     {report(run)}")
    exported = export(run.model, out / "saved_model")
    difference = saved_model.facts(exported)["parity"]
    print(f"SavedModel: {exported}, parity {difference['largest_difference']:.1g}")
    picture = sorted((target / "test" / "seven").iterdir())[0]
    answer = saved_model.Server(exported).predict(picture)
    print(f"Prediction: {picture} is {answer.label!r} with probability {answer.probability:.2f}")
