"""What preprocessing makes of a data set's images: widths, gaps, and letters that stand apart."""

from __future__ import annotations

import numpy as np
from measurement import Figure, argument_parser, report, run

from crnn_captcha.dataset import SPLITS, open_dataset
from crnn_captcha.images import decode_image
from crnn_captcha.letters import split_letters
from crnn_captcha.preprocessing import Pipeline
from crnn_captcha.training import PRESETS


def without(pipeline: Pipeline, name: str) -> Pipeline:
    """The pipeline without a stage."""
    stages = tuple(stage for stage in pipeline.stages if stage.name != name)
    return Pipeline(stages, pipeline.width_multiple, pipeline.fixed_width)


def main() -> None:
    """Prepares the images of a split as a preset does, and as it would without some stages."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--split", choices=SPLITS, default="train", help="(default: %(default)s)")
    parser.add_argument("--preset", choices=PRESETS, default="standard")
    arguments = parser.parse_args()
    pipeline = PRESETS[arguments.preset].pipeline
    gaps_kept = without(pipeline, "narrow_gaps")
    together = without(pipeline, "part_letters")
    dataset = open_dataset(arguments.data)
    widths, widths_before, apart, apart_before = [], [], [], []
    for sample in dataset.samples(arguments.split):
        image = decode_image(dataset.read(sample))
        prepared = pipeline(image)
        widths.append(len(prepared))
        widths_before.append(len(gaps_kept(image)))
        count = len(sample.label)
        apart.append(split_letters(prepared, count) is not None)
        apart_before.append(split_letters(together(image), count) is not None)
    what = f"preset {arguments.preset}, all {len(widths)} images of {arguments.split}"
    figures = [
        Figure(f"{what}: prepared width", widths, "px", 0),
        Figure(f"{what}: mean prepared width", [float(np.mean(widths))], "px", 0),
        Figure(f"{what}: the same with gaps kept", [float(np.mean(widths_before))], "px", 0),
        Figure(f"{what}: letters stand apart in", [100 * float(np.mean(apart))], "%", 1),
        Figure(
            f"{what}: the same without `part_letters`", [100 * float(np.mean(apart_before))], "%", 1
        ),
    ]
    report(figures, as_json=arguments.json)


if __name__ == "__main__":
    run(main, times=False)
