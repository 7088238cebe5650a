"""The notebook runs from top to bottom, and shows its pictures."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "train.ipynb"


@pytest.mark.slow
def test_the_notebook_trains_and_shows_pictures(tmp_path: Path, captchas: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    settings = ["training.epochs=1", "model.filters=[4, 4, 4, 4, 8]", "model.units=[8]"]
    parameters.source = (
        f"DATA = {str(captchas)!r}\nRUN = 'run'\nPRESET = 'standard'\nSETTINGS = {settings!r}"
    )

    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    printed = "".join(o.get("text", "") for o in outputs)
    assert len(pictures) == 3  # what the network sees, the curves, the showcase
    assert "All 1 epochs are done." in printed
    assert "Exact match: " in printed
    assert "read as" in printed
    assert (tmp_path / "run" / "bundle.onnx").is_file()
