"""Training steps in a process of their own, which takes some when told and else stands still.

Each framework keeps its threads spinning for a while; in one process, or both at work, they would
take the cores from each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Worker:
    """A script that calls `serve`, seen from the process that tells it what to do.

    Args:
        script: its file name, beside this one.
        arguments: of the script.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
        pipe = subprocess.PIPE
        self._script = script
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.facts: dict[str, Any] = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # closes its input, which ends it

    def seconds_a_step(self, steps: int) -> float:
        """Lets it take some steps."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._script} ended early, see above.")
        return json.loads(line)


def serve(step: Callable[[], float], facts: Mapping[str, Any]) -> None:
    """Says the facts, then takes as many steps as each line of standard input says.

    Args:
        step: takes one and returns its loss, which has to have been computed by then.
        facts: about the network.
    """
    print(json.dumps(dict(facts)), flush=True)
    for line in sys.stdin:
        steps = int(line)
        start = time.perf_counter()
        losses = [step() for _ in range(steps)]
        seconds = (time.perf_counter() - start) / steps
        if not all(loss < float("inf") for loss in losses):
            sys.exit(f"A loss has to be finite. Received: {losses}.")
        print(json.dumps(seconds), flush=True)
