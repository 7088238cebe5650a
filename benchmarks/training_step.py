"""One training step in Keras, as `crnn-captcha train` takes it, against plain PyTorch.

Forward, CTC loss, backward and update on one batch, the same for both, without augmentation.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from functools import partial

from measurement import Figure, alternate, argument_parser, positive, ratios, report, run
from workers import Worker

from crnn_captcha.windows import available_cores

AIM = 1.15  # Keras may take this many times as long
WARM_UPS = 2  # turns: TensorFlow traces in the first, both fill their memory pools


def main() -> None:
    """Starts a process for each framework and lets them take steps in turns."""
    parser = argument_parser(__doc__)
    parser.add_argument("--preset", default="classic", help="whose network (default: %(default)s)")
    parser.add_argument("--repeats", type=positive, default=12, help="turns (default: %(default)s)")
    parser.add_argument(
        "--steps", type=positive, default=4, help="steps in a turn (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=available_cores(),
        help="of each framework (default: all cores)",
    )
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        sys.exit('This benchmark needs PyTorch: pip install "crnn-captcha[bench]"')

    with (
        tempfile.TemporaryDirectory() as folder,
        # Keras comes first: it leaves the batch and the network's description for PyTorch.
        Worker("keras_steps.py", arguments.preset, str(arguments.threads), folder) as keras,
        Worker("pytorch_steps.py", str(arguments.threads), folder) as pytorch,
    ):
        check_twins(keras, pytorch)
        runs = [partial(worker.seconds_a_step, arguments.steps) for worker in (keras, pytorch)]
        times = alternate(runs, arguments.repeats, warm_ups=WARM_UPS, pause_s=0.2)

    batch, width, height, channels = keras.facts["images"]
    what = (
        f"training step, preset {arguments.preset}, {batch} images of {width}x{height}x{channels}, "
        f"{arguments.threads} threads"
    )
    figures = [
        Figure(f"{what}: {worker.facts['name']}", [1000 * t for t in seconds], "ms", 0)
        for worker, seconds in zip((keras, pytorch), times, strict=True)
    ]
    figures.append(Figure(f"{what}: Keras / PyTorch (aim: at most {AIM})", ratios(*times)))
    report(figures, as_json=arguments.json)


def check_twins(keras: Worker, pytorch: Worker) -> None:
    """Refuses to compare networks of different size."""
    weights, twin = keras.facts["weights"], pytorch.facts["weights"]
    second_biases = pytorch.facts["second_biases"]
    print(
        f"Weights that are trained: Keras {weights:,}, PyTorch {twin:,}, of which "
        f"{second_biases:,} are second biases of LSTMs.",
        file=sys.stderr,
    )
    if weights != twin - second_biases:
        sys.exit("Both networks need the same weights, up to PyTorch's second LSTM biases.")


if __name__ == "__main__":
    run(main)
