"""The image files that a command names, one by one or by their folders."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from resnets.data.listing import natural_key
from resnets.decoding import IMAGE_SUFFIXES
from resnets.errors import DataError


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """The files named, as they are, and in place of a folder the images in and below it.

    A folder's images come in natural order (2.jpg before 10.jpg); hidden files and folders are
    passed over. Raises ``DataError`` for a folder without an image or without the right to look.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = list(_walk(path))
        if not inside:
            raise DataError(
                f"no image in the folder {path}",
                fix=f"name another folder; images end in {', '.join(sorted(IMAGE_SUFFIXES))}",
            )
        found += inside
    return found


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()  # links may lead in a circle
    for here, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = _shown(folders) if real not in seen else []
        for file in _shown(files) if real not in seen else []:
            if Path(file).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(here, file)
        seen.add(real)


def _refuse(error: OSError) -> None:
    raise DataError(
        f"cannot look into {error.filename}: {error.strerror}",
        fix="make the folder readable or leave it out",
    ) from error


def _shown(names: list[str]) -> list[str]:
    return sorted((name for name in names if not name.startswith(".")), key=natural_key)
