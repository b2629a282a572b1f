"""Imports point one way, and nothing heavy is loaded before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tlkit

PACKAGE = Path(tlkit.__file__).parent

# Each module may import those on lines above it. Data flows the same way.
LEVELS = (
    ("errors",),
    (
        "files",
        "progress",
        "listing",
        "folds",
        "confident",
        "outliers",
        "data_map",
        "trials",
        "logistic",
        "image_kind",
        "sampling",
        "averaging",
        "regularisers",
        "formats",
    ),
    (
        "table",
        "verdicts",
        "exif",
        "warps",
        "pixel_changes",
        "surgery",
        "losses",
        "optimizers",
        "heads",
        "layers",
        "schedules",
        "study",
        "workers",
        "recipe_files",
        "pages",
    ),
    (
        "sources",
        "duplicates",
        "pixels",
        "preprocess",
        "imagenet_files",
        "calibration",
        "policies",
        "contact_sheet",
    ),
    ("checks", "backbone_table", "resampling", "weight_files", "serving", "augment", "doubts"),
    (
        "split",
        "metrics",
        "weights",
        "nets",
        "folded",
        "mixing",
        "learning_curve",
        "finalists",
        "probes",
    ),
    ("data", "backbones", "plots", "engines", "views", "augment_preview", "domain", "costs"),
    ("model", "report", "phases", "label_plots"),
    ("store", "audit", "batches", "classes", "label_page", "space", "advice_rules", "untouched"),
    ("features", "oracles", "search_plots"),
    ("training", "checkpoint", "neighbours", "scale_out", "search_report", "stage_features"),
    ("run", "export", "candidates"),
    ("session", "summary", "winner", "advice_plots", "advice_text"),
    ("finetune", "planner", "advice_page"),
    ("label_check", "hunt", "range_test", "advice", "budget"),
    ("chief", "searching"),
    ("demo",),
    ("commands",),
    ("cli",),
    ("__init__", "__main__"),
)
LEVEL = {name: height for height, names in enumerate(LEVELS) for name in names}


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _top_level_imports(path: Path):
    """Yields tlkit modules imported when `path` is; imports inside functions are deferred."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "tlkit":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tlkit."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("tlkit."))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.name))
def test_imports_point_down(path):
    name = _module(path)
    assert name in LEVEL, f"give tlkit/{name}.py a level in {Path(__file__).name}"
    for used in _top_level_imports(path):
        if used == "__version__" or used == name:
            continue
        assert used in LEVEL, f"tlkit.{used} has no level"
        assert LEVEL[used] < LEVEL[name], f"tlkit.{name} must not import tlkit.{used}"


@pytest.mark.parametrize(
    "code", ["import tlkit", "import tlkit.cli", "import tlkit.backbones.loading"]
)
def test_light_imports_leave_tensorflow_alone(code):
    script = f"{code}\nimport sys\nprint(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_public_name_is_a_module_too():
    # Importing `tlkit.x` would put the module in the place of the function `tlkit.x`.
    assert not set(tlkit.__all__) & set(LEVEL)


def test_every_public_name_exists():
    assert all(getattr(tlkit, name) for name in tlkit.__all__)
