"""The benchmarks that need no training, one after the other, as one Markdown table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from measurement import Row, argument_parser, header, model_option

PRESETS = ("classic", "medium", "standard")
QUICK = ("--repeats", "2")


def main() -> None:
    """Runs each in a process of its own; exits 1 when one failed, after the others."""
    parser = argument_parser(__doc__, reads=True)
    parser.add_argument("--data", metavar="DATA", help="also read images of this data set")
    parser.add_argument("--run", metavar="RUN", help="also see how long this run waited for data")
    parser.add_argument("--quick", action="store_true", help="two repeats: only to see it work")
    arguments = parser.parse_args()
    model = model_option(arguments.model)
    quick = QUICK if arguments.quick else ()

    benchmarks = [["cold_start.py", *model, *quick], ["reading_speed.py", *model, *quick]]
    benchmarks.append(["drawing_speed.py", *quick])
    if arguments.data:
        benchmarks.append(["reading_speed.py", "--data", arguments.data, *model, *quick])
    benchmarks += [["training_step.py", "--preset", preset, *quick] for preset in PRESETS]
    if arguments.run:
        benchmarks.append(["data_waiting.py", arguments.run])

    print(header(), flush=True)
    results = [measure(*benchmark) for benchmark in benchmarks]
    if arguments.json:
        print(json.dumps([row for rows in results for row in rows], ensure_ascii=False))
    sys.exit(0 if all(results) else 1)


def measure(script: str, *arguments: str) -> list[dict[str, object]]:
    """Runs a benchmark and prints its rows; none where it failed."""
    print(f"{script} {' '.join(arguments)} …", file=sys.stderr)
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{script} failed, see above.", file=sys.stderr)
        return []
    rows: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])
    for row in rows:
        print(Row(**{key: str(value) for key, value in row.items() if key != "values"}), flush=True)
    return rows


if __name__ == "__main__":
    main()
