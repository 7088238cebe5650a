"""The architecture: imports point one way, heavy libraries have one home, reading starts fast."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import crnn_captcha

PACKAGE = "crnn_captcha"
ROOT = Path(crnn_captcha.__file__).parent

# A module imports only from rows above its own. Modules of one package may import each other.
LAYERS = (
    ("errors", "files", "progress", "windows"),
    ("charset", "patterns", "fingerprints", "duplicates", "parting", "streams"),
    (
        "images", "stages", "alignment", "automaton", "metrics", "confidence", "protobuf",
        "tables", "styles",
    ),
    (
        "preprocessing", "sources", "fonts", "onnx_graph", "beam", "constraints", "wording",
        "style_files", "peers",
    ),
    (
        "dataset", "glyphs", "decoding", "letters", "listing", "outcomes", "pipelines",
        "containers", "suspects",
    ),
    (
        "effects", "batches", "temperature", "inspection", "corrections", "typefaces",
        "learned",
    ),
    ("drawing", "bundle", "checks", "uprights"),
    ("generator", "recognizer", "recovery"),
    ("synthetic", "evaluation", "diagnosis", "jobs", "font_files"),
    (PACKAGE,),  # its __init__ gathers the public names
    ("reporting",),
    ("training",),
    ("cli",),
)  # fmt: skip
HOMES = {
    "keras": {"training"},
    "tensorflow": {"training"},
    "tf2onnx": {"training"},
    "onnx": {"training"},
    "onnxruntime": {"recognizer", "training.quantization"},
    "matplotlib": {"reporting"},
    "pyarrow": {"tables"},
    "tqdm": {"progress"},
    "click": {"cli"},
    "PIL": {"fonts", "glyphs", "font_files", "reporting.showcase"},
    "fontTools": {"font_files"},
    "captcha": {"peers"},
    "wheezy": {"peers"},
    "django": {"peers"},
}
SLOW_TO_IMPORT = {
    "PIL",
    "click",
    "keras",
    "matplotlib",
    "onnx",
    "pyarrow",
    "rapidfuzz",
    "tensorflow",
    "tf2onnx",
    "tqdm",
}


def _modules() -> dict[str, Path]:
    """Files by the module's name within the package; the package's own is its name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__") or PACKAGE] = path
    return found


MODULES = _modules()
ROW = {unit: number for number, row in enumerate(LAYERS) for unit in row}


def _unit(module: str) -> str:
    """What stands in the table: a module, or the package that it belongs to."""
    return module.partition(".")[0]


def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _imported(module: str) -> Iterator[str]:
    """All names that a module imports, in full: within functions and for type checks, too."""
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import, which this test can't follow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _dependencies(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for name in _imported(module):
        if _unit(name) == PACKAGE:
            inner = name.removeprefix(f"{PACKAGE}.")
            holder = inner.rpartition(".")[0] or PACKAGE  # where `inner` is a name in a module
            found.add(inner if inner in MODULES else holder)
    return found


# --- layers ---------------------------------------------------------------------------------


def test_the_table_names_every_module_once_and_no_other() -> None:
    assert sorted(unit for row in LAYERS for unit in row) == sorted({_unit(m) for m in MODULES})


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_come_from_rows_above(module: str) -> None:
    dependencies = _dependencies(module)
    assert dependencies <= MODULES.keys()
    wrong = {
        other
        for other in dependencies
        if _unit(other) != _unit(module) and ROW[_unit(other)] >= ROW[_unit(module)]
    }
    assert not wrong, f"{module} is in row {ROW[_unit(module)]}; not above it: {sorted(wrong)}"


def test_no_module_imports_itself_by_a_detour() -> None:
    order = TopologicalSorter({module: _dependencies(module) for module in MODULES})
    order.prepare()  # raises CycleError, which names the cycle


# --- heavy libraries ------------------------------------------------------------------------


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_in_its_home_only(library: str) -> None:
    importers = {m for m in MODULES if any(_unit(name) == library for name in _imported(m))}
    homes = HOMES[library]
    assert {m for m in importers if m not in homes and _unit(m) not in homes} == set()


@pytest.mark.parametrize(
    "statement", [f"import {PACKAGE}", f"from {PACKAGE} import Recognizer"], ids=["all", "reader"]
)
def test_importing_is_light(statement: str) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {_unit(name) for name in printed.stdout.split()}
    assert PACKAGE in imported
    assert imported & SLOW_TO_IMPORT == set()


# --- public names ---------------------------------------------------------------------------


def _defined(module: str) -> Iterator[str]:
    """The names that a module has at its top level, and that are imported there."""
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def _public(module: str) -> list[str]:
    """What stands in `__all__`; nothing where there is none."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if _public(m)))
def test_public_names_exist_and_are_named_once(module: str) -> None:
    names = _public(module)
    assert len(names) == len(set(names))
    missing = set(names) - set(_defined(module))
    if module == PACKAGE:  # they are imported when they are first used
        package = importlib.import_module(PACKAGE)
        missing = {name for name in names if not hasattr(package, name)}
    assert missing == set()
