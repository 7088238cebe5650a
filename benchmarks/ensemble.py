"""Several readers together: for each image the text that is most probable to all of them.

Each gives its five most probable texts by beam search; of all these, the one with the greatest
product of the readers' probabilities is read. The whole split is read, by each alone as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from measurement import Figure, argument_parser, common_images, reading_figures, report, run

from crnn_captcha.alignment import ctc_log_likelihood, log_softmax
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import SPLITS
from crnn_captcha.decoding import Reading, decode
from crnn_captcha.errors import ConfigError, ImageError, PreprocessingError
from crnn_captcha.evaluation import Reader, evaluate
from crnn_captcha.images import decode_image
from crnn_captcha.recognizer import Recognizer

OTHERS = 4  # texts that each reader proposes besides its first


class Ensemble:
    """Recognizers of the same characters that read together."""

    def __init__(self, recognizers: Sequence[Recognizer]) -> None:
        charsets = {recognizer.charset.characters for recognizer in recognizers}
        if len(charsets) > 1:
            raise ConfigError(f"Readers share a charset. Received: {', '.join(sorted(charsets))}.")
        self._recognizers = recognizers

    @property
    def charset(self) -> Charset:
        """The characters that all of them know."""
        return self._recognizers[0].charset

    def read_many(self, images: Iterable[bytes]) -> Iterator[Reading | ImageError]:
        """For each file's bytes a reading; its confidence is a share among the proposed texts."""
        for data in images:
            try:
                yield self._read(data)
            except ImageError as error:
                yield error
            except PreprocessingError as error:
                yield ImageError(str(error))

    def _read(self, data: bytes) -> Reading:
        image = decode_image(data)
        proposed: dict[str, None] = {}
        scores = []
        for recognizer in self._recognizers:
            logits = recognizer.logits(recognizer.pipeline(image)[None])
            (reading,) = decode(logits, self.charset, alternatives=OTHERS)
            proposed |= dict.fromkeys([reading.text, *(a.text for a in reading.alternatives)])
            scores.append(log_softmax(logits))
        labels = [self.charset.encode(text) for text in proposed]
        together = np.sum(
            [ctc_log_likelihood(np.repeat(own, len(labels), axis=0), labels) for own in scores],
            axis=0,
        )
        best = int(np.argmax(together))
        confidence = float(1 / np.exp(together - together[best]).sum())
        return Reading([*proposed][best], confidence, ())


def main() -> None:
    """Reads the split by each model and by all of them."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("models", metavar="MODEL", nargs="+", help="bundle, run or bundle's name")
    parser.add_argument(
        "--split", choices=SPLITS, default="validation", help="(default: %(default)s)"
    )
    arguments = parser.parse_args()
    recognizers = [Recognizer(model) for model in arguments.models]
    readers: list[tuple[str, Reader]] = [*zip(arguments.models, recognizers, strict=True)]
    readers.append((" and ".join(arguments.models), Ensemble(recognizers)))
    bundles = [recognizer.metadata for recognizer in recognizers]
    dataset, samples = common_images(arguments.data, arguments.split, bundles)
    figures: list[Figure] = []
    for name, reader in readers:
        result = evaluate(reader, dataset, samples, progress=True)
        what = f"{name}, all {result.images:,} images of {arguments.split}"
        figures += reading_figures(what, result)
    report(figures, as_json=arguments.json)


if __name__ == "__main__":
    run(main, times=False)
