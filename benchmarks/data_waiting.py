"""The share of its time that a training waited for data, from its run folder."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from measurement import Figure, argument_parser, report, run

AIM_PERCENT = 3


def main() -> None:
    """Reads the run's `history.csv`."""
    parser = argument_parser(__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of a training")
    arguments = parser.parse_args()
    history = arguments.run / "history.csv"
    with history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"seconds", "waiting_seconds"} <= set(rows[0]):
        sys.exit(f"{history} needs a row an epoch, with seconds and waiting_seconds.")
    shares = [100 * float(row["waiting_seconds"]) / float(row["seconds"]) for row in rows]
    what = f"waiting for data, share of an epoch, run {arguments.run.resolve().name}"
    aim = f"(aim: under {AIM_PERCENT} %)"
    figures = [
        Figure(f"{what}: median of {len(rows)} epochs {aim}", shares, "%"),
        Figure(f"{what}: worst of {len(rows)} epochs {aim}", [max(shares)], "%"),
    ]
    report(figures, as_json=arguments.json)


if __name__ == "__main__":
    run(main, times=False)
