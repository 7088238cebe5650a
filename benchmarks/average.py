"""One reader with the mean weights of several that learned one after the other.

Where a training goes on from its end at a high rate and comes to rest again, the weights halfway
between such ends can read better than either (stochastic weight averaging, arXiv 1803.05407). All
bundles are of one network; normalisations are part of the kernels by then, and are averaged with
them. The temperature is fitted anew on the validation images. The mean can't be trained on from:
of its normalisations nothing is known any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from measurement import Figure, argument_parser, common_images, reading_figures, report, run
from onnx import numpy_helper

from crnn_captcha.bundle import METADATA_KEY, NETWORK_KEY, Bundle, read_bundle, write_bundle
from crnn_captcha.errors import ConfigError
from crnn_captcha.evaluation import evaluate
from crnn_captcha.images import decode_image
from crnn_captcha.recognizer import Recognizer, bundle_path
from crnn_captcha.temperature import fit_temperature

OURS = (METADATA_KEY, NETWORK_KEY)  # metadata that the mean doesn't share


def mean_graph(graphs: Sequence[bytes]) -> bytes:
    """The graph, without our metadata, whose weights are the means of others' of the same nodes.

    Raises:
        ConfigError: if nodes or the shapes of weights differ.
    """
    models = [onnx.load_from_string(graph) for graph in graphs]
    nodes = [[node.op_type for node in model.graph.node] for model in models]
    weights = [_weights(model) for model in models]
    shapes = [[(w.data_type, *w.dims) for w in of_one] for of_one in weights]
    if any(nodes[0] != other for other in nodes) or any(shapes[0] != other for other in shapes):
        raise ConfigError("Weights are averaged of one network alone. Received: several networks.")
    for target, *others in zip(*weights, strict=True):
        if target.data_type == onnx.TensorProto.FLOAT:
            arrays = [numpy_helper.to_array(tensor) for tensor in (target, *others)]
            mean = np.mean(arrays, axis=0, dtype=np.float64).astype(np.float32)
            target.CopyFrom(numpy_helper.from_array(mean, target.name))
    kept = [entry for entry in models[0].metadata_props if entry.key not in OURS]
    del models[0].metadata_props[:]
    models[0].metadata_props.extend(kept)
    return bytes(models[0].SerializeToString())


def _weights(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Those that nodes use, in the order of their use."""
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    used = dict.fromkeys(name for node in model.graph.node for name in node.input if name in known)
    return [known[name] for name in used]


def main() -> None:
    """Writes the mean of the models, and measures all on validation."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="bundle, run or bundle's name")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="bundle to write")
    arguments = parser.parse_args()
    bundles = [read_bundle(bundle_path(model)) for model in arguments.models]
    metadata = bundles[-1].metadata  # of the one that learned last
    described = [bundle.metadata for bundle in bundles]
    dataset, samples = common_images(arguments.data, "validation", described)
    graph = mean_graph([bundle.graph for bundle in reversed(bundles)])
    mean = Recognizer(Bundle(graph, metadata))
    images = (mean.pipeline(decode_image(dataset.read(sample))) for sample in samples)
    logits = [mean.logits(image[None])[0] for image in images]
    fit = fit_temperature(logits, [sample.label for sample in samples], mean.charset)
    facts = {"averaged": len(bundles), "temperature_fit": dataclasses.asdict(fit)}
    metadata = dataclasses.replace(
        metadata, temperature=fit.temperature, training={**metadata.training, **facts}
    )
    write_bundle(arguments.out, graph, metadata)
    figures: list[Figure] = []
    for model in (*arguments.models, arguments.out):
        result = evaluate(Recognizer(model), dataset, samples, progress=True)
        what = f"{model}, all {result.images:,} images of validation"
        figures += reading_figures(what, result)
    report(figures, as_json=arguments.json)


if __name__ == "__main__":
    run(main, times=False)
