"""The report that a training leaves: curves, examples and figures of its validation images."""

from __future__ import annotations

from pathlib import Path

from crnn_captcha.evaluation import evaluate
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.reporting.page import write_report
from crnn_captcha.training.preparation import Prepared
from crnn_captcha.training.run import RunFolder


def write_training_report(folder: RunFolder, prepared: Prepared, *, progress: bool) -> Path:
    """Reads the validation images with the run's bundle, and writes `report/` about it.

    Args:
        folder: a run with a bundle.
        prepared: its validation images are read.
        progress: show a progress bar on standard error.

    Returns:
        The path of the report's page.

    Raises:
        OSError: if a file can't be written.
    """
    recognizer = Recognizer(folder.bundle)
    validation = prepared.validation
    dataset = validation.dataset
    config = folder.load_config()
    facts = {"preset": config.preset, "data": dataset.path.name, "split": "validation"}
    if corrections := folder.own_corrections():
        facts["labels by review"] = corrections.summary
    if prepared.skipped:
        facts["broken images left out"] = f"{prepared.skipped:,}, of train and validation split"
    return write_report(
        evaluate(recognizer, dataset, validation.samples, progress=progress),
        folder.report,
        dataset=dataset,
        pipeline=recognizer.pipeline,
        title="How the training went",
        facts=facts,
        history=folder.read_history(),
    )
