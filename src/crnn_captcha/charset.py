"""Characters and the class ids that a network scores them with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import CharsetError, LabelError

BLANK = 0
"""Class id of CTC's extra class. The character at index ``i`` of a charset is class ``i + 1``."""


@dataclass(frozen=True)
class Charset:
    """The ordered characters that a model knows.

    Example:
        >>> charset = Charset("ab")
        >>> charset.encode("ba").tolist()
        [2, 1]
        >>> charset.decode([2, 1])
        'ba'

    Raises:
        CharsetError: if `characters` is empty or holds one twice.
    """

    characters: str

    def __post_init__(self) -> None:
        if not self.characters:
            raise CharsetError("A charset needs at least one character. Received: ''.")
        repeated = sorted({c for c in self.characters if self.characters.count(c) > 1})
        if repeated:
            raise CharsetError(
                f"A charset holds each character once. Received: '{self.characters}' "
                f"(repeated: '{''.join(repeated)}')."
            )

    @classmethod
    def from_labels(cls, labels: Iterable[str]) -> Charset:
        """The sorted characters that occur in `labels`."""
        return cls("".join(sorted(set().union(*map(set, labels)))))

    @property
    def num_classes(self) -> int:
        """The characters and the blank."""
        return len(self.characters) + 1

    @cached_property
    def _class_ids(self) -> dict[str, int]:
        return {character: BLANK + 1 + i for i, character in enumerate(self.characters)}

    def unknown(self, label: str) -> str:
        """The characters of `label` that the charset lacks, sorted, each once."""
        return "".join(sorted(set(label) - self._class_ids.keys()))

    def encode(self, label: str) -> NDArray[np.int32]:
        """Class ids of a label.

        Args:
            label: text over the charset.

        Returns:
            int32 of shape (len(label),), each at least 1: the blank never stands in a label.

        Raises:
            LabelError: if a character is unknown.
        """
        if unknown := self.unknown(label):
            raise LabelError(
                f"A label may only use the characters of the charset '{self.characters}'. "
                f"Received: '{label}' (unknown: '{unknown}'). "
                "Fix the label or train with a charset that has them."
            )
        return np.array([self._class_ids[character] for character in label], np.int32)

    def decode(self, class_ids: Iterable[int]) -> str:
        """The text of class ids without blanks: the inverse of `encode`.

        Raises:
            CharsetError: if a class id is the blank or out of range.
        """
        ids = [int(i) for i in class_ids]
        wrong = [i for i in ids if not BLANK < i < self.num_classes]
        if wrong:
            raise CharsetError(
                f"A character's class id lies in 1 to {self.num_classes - 1}. Received: {wrong}."
            )
        return "".join(self.characters[i - 1] for i in ids)


def required_time_steps(label: str) -> int:
    """The fewest time steps whose CTC paths can spell `label`.

    One for each character, and one for the blank that keeps two equal neighbours apart.
    (Graves et al. 2006, "Connectionist Temporal Classification", section 3.1.)
    """
    return len(label) + sum(a == b for a, b in itertools.pairwise(label))
