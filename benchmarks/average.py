"""One reader with the mean weights of several that learned one after the other.

Where a training goes on from its end at a high rate and comes to rest again, the weights halfway
between such ends can read better than either (stochastic weight averaging, arXiv 1803.05407), and
where it goes on with other images, better than either on both (arXiv 2109.01903). All models are
of one network; a model that is named twice counts twice. The temperature is fitted anew on the
validation images. Like any other bundle, the mean can be trained on from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measurement import Figure, argument_parser, common_images, reading_figures, report, run

from crnn_captcha.bundle import Bundle, read_bundle, write_bundle
from crnn_captcha.errors import ConfigError
from crnn_captcha.evaluation import evaluate
from crnn_captcha.images import decode_image
from crnn_captcha.learned import to_text
from crnn_captcha.recognizer import Recognizer, bundle_path
from crnn_captcha.temperature import fit_temperature
from crnn_captcha.training.description import Weights, describe_network
from crnn_captcha.training.export import to_onnx
from crnn_captcha.training.layout import Array
from crnn_captcha.training.model import full_precision, make_networks
from crnn_captcha.training.transfer import Base, read_base


def mean_weights(bases: Sequence[Base]) -> Weights:
    """The means of all arrays, normalisations among them.

    Raises:
        ConfigError: if networks, pipelines or characters differ.
    """
    first, *others = [(b.weights.model, b.config.pipeline, b.charset) for b in bases]
    if any(first != other for other in others):
        raise ConfigError("Weights are averaged of one network alone. Received: several networks.")
    of_all = [base.weights.shortcut for base in bases]
    shortcut = _means(of_all) if all(of_all) else []
    return Weights(first[0], _means([base.weights.reader for base in bases]), shortcut)


def _means(of_all: Sequence[Sequence[Array]]) -> list[Array]:
    return [
        np.asarray(np.mean(arrays, axis=0, dtype=np.float64), np.float32)
        for arrays in zip(*of_all, strict=True)
    ]


def mean_bundle(bases: Sequence[Base], last: Bundle) -> Bundle:
    """The mean as a bundle, with the facts of the one that learned last, and no temperature yet."""
    weights = mean_weights(bases)
    with full_precision():
        reader = make_networks(bases[-1].config, bases[-1].charset.num_classes).reader
    reader.set_weights(weights.reader)
    facts = {**last.metadata.training, "averaged": len(bases)}
    learned = [base.learned for base in bases if base.learned is not None]
    facts.pop("learned", None)
    if len(learned) == len(bases):  # else nobody knows all that the mean has learned from
        facts["learned"] = to_text(np.unique(np.concatenate(learned)))
    metadata = dataclasses.replace(last.metadata, training=facts, temperature=1.0)
    return Bundle(describe_network(to_onnx(reader), reader, weights), metadata)


def main() -> None:
    """Writes the mean of the models, and measures all on validation."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="bundle, run or bundle's name")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="bundle to write")
    arguments = parser.parse_args()
    bundles = [read_bundle(bundle_path(model)) for model in arguments.models]
    described = [bundle.metadata for bundle in bundles]
    dataset, samples = common_images(arguments.data, "validation", described)
    bundle = mean_bundle([read_base(model) for model in arguments.models], bundles[-1])
    mean = Recognizer(bundle)
    images = (mean.pipeline(decode_image(dataset.read(sample))) for sample in samples)
    logits = [mean.logits(image[None])[0] for image in images]
    fit = fit_temperature(logits, [sample.label for sample in samples], mean.charset)
    facts = {**bundle.metadata.training, "temperature_fit": dataclasses.asdict(fit)}
    metadata = dataclasses.replace(bundle.metadata, temperature=fit.temperature, training=facts)
    write_bundle(arguments.out, bundle.graph, metadata)
    figures: list[Figure] = []
    for model in (*dict.fromkeys(arguments.models), arguments.out):
        result = evaluate(Recognizer(model), dataset, samples, progress=True)
        what = f"{model}, all {result.images:,} images of validation"
        figures += reading_figures(what, result)
    report(figures, as_json=arguments.json)


if __name__ == "__main__":
    run(main, times=False)
