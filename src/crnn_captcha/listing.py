"""Files, folders and zips -> the images in them, labelled or not, one after the other.

Zips and folders are as safe to read as in a data set: `sources` says what is refused. But here
names of a folder are found as they are asked for, and only those of one are in memory at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.images import ImageSource
from crnn_captcha.sources import FolderSource, ZipSource


@dataclass(frozen=True)
class ListedImage:
    """An image that is to be read.

    Attributes:
        path: of its file; within a zip, the zip's path and then the name in it.
        archive: the zip, if it lies in one.
        name: in the zip.
    """

    path: str
    archive: ZipSource | None = None
    name: str = ""

    def source(self) -> ImageSource | ImageError:
        """What a recognizer takes: a path, so that its threads open the file, or bytes."""
        if self.archive is None:
            return self.path
        try:
            return self.archive.read(self.name)
        except (DatasetError, ImageError) as error:
            return ImageError(str(error))


def listed_images(paths: Iterable[str]) -> Iterator[ListedImage]:
    """The images in files, folders and zips, lazily, always in the same order.

    A path that is neither a folder nor ends in '.zip' is an image, even if nothing is there.

    Raises:
        DatasetError: if a folder or a zip can't be listed or looks hostile, as in a data set.
    """
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            found = FolderSource(Path(path)).walk()
            yield from (ListedImage(os.path.join(path, name)) for name in found)  # noqa: PTH118
        elif path.lower().endswith(".zip"):
            archive = ZipSource(Path(path).absolute())
            yield from (ListedImage(f"{path}/{name}", archive, name) for name in archive.names())
        else:
            yield ListedImage(path)
