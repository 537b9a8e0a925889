"""A folder of images: one subfolder per class, below ``train``, ``val`` and ``test`` or not."""

import os
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from pathlib import Path

from resnets.data.listing import (
    BY_HASH,
    NAMED_SPLITS,
    Listed,
    assemble,
    class_name,
    natural_key,
    split_by_hash,
    told,
)
from resnets.data.sources import Dataset
from resnets.decoding import IMAGE_SUFFIXES
from resnets.errors import DataError

LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What operating systems leave in folders, beside names with a leading dot."""

EMPTY = "folders without images"
OUTSIDE = "images outside class folders, not used"
REPEATED = "folders met a second time through a link, not used again"
BROKEN = "links that lead nowhere, not used"
OTHERS = "files are no images by their suffix and not used"
HIDDEN = "hidden files and folders, not used"


def open_folder(root: Path, *, whole: str | None = None) -> Dataset:
    """The data set of a folder; nothing is decoded.

    Either ``train/CLASS/...`` with optional ``val`` (or ``valid``, ``validation``) and ``test``
    beside it, or ``CLASS/...``, which is split by a hash of the paths. Images may lie at any
    depth below their class. Raises ``DataError`` for a folder that is no such thing.

    Args:
        whole: to be scored, not trained on: ``CLASS/...`` is this split as a whole, and a folder
            with ``test`` needs no ``train``.
    """
    root = Path(os.path.abspath(root))
    walk = _Walk(root)
    parts: dict[str, os.DirEntry[str]] = {}
    others: list[str] = []
    for entry in walk.visible(root):
        if walk.kind(entry) != "folder":
            continue
        part = NAMED_SPLITS.get(entry.name.lower())
        if part in parts:
            raise DataError(
                f"{root} has both {parts[part].name}/ and {entry.name}/", fix="keep one of them"
            )
        if part:
            parts[part] = entry
        else:
            others.append(entry.name)
    others.sort(key=natural_key)
    if "train" in parts and (len(parts) > 1 or not others or walk.has_folders(parts["train"])):
        listed = {part: walk.labelled(entry.path, part=part) for part, entry in parts.items()}
        notes = [f"not used, for it lies beside train/: {told(others)}"] if others else []
    elif parts and not others and whole:
        listed = {part: walk.labelled(entry.path, part=part) for part, entry in parts.items()}
        notes = []
    elif parts and not others:
        raise DataError(
            f"{root} has {' and '.join(entry.name for entry in parts.values())} but no train",
            fix=f"put the training images into {root / 'train' / 'CLASS'}",
        )
    elif whole:
        listed, notes = {whole: walk.labelled(root, part="train")}, []
    else:  # a class may be called test, or train beside plane and ship
        walk.refuse_hidden_splits()
        listed = split_by_hash(walk.labelled(root, part="train"))
        names = sorted(entry.name for entry in parts.values())
        notes = [BY_HASH, *(f"{name}/ is taken for a class, not for a split" for name in names)]
    made = BY_HASH in notes
    dataset = assemble(
        root,
        listed,
        source=root,
        notes=notes + walk.notes(),
        split_by_hash=made,
        to_score=whole is not None,
    )
    return replace(dataset, passed_over=walk.passed_over())


@dataclass
class _Walk:
    """Reads folders, each real one once per split, and remembers what a person should know."""

    root: Path
    empty: list[str] = field(default_factory=list)
    unlabelled: dict[str, list[str]] = field(default_factory=dict)
    """By folder: images that lie beside class folders."""
    repeated: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    others: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By suffix: files that are no images by it."""

    def labelled(self, folder: str | Path, *, part: str) -> list[Listed]:
        """The images of one split, class by class; ``folder`` holds the class folders."""
        found: dict[str, list[str]] = {}
        loose: list[str] = []
        seen = {self._identity(path) for path in (folder, self.root, *self.root.parents)}
        folders: deque[tuple[str, str]] = deque()
        links: deque[tuple[str, str]] = deque()  # after all real folders: those keep their class
        for entry in self.visible(folder):
            kind = self.kind(entry)
            if kind == "folder":
                label = class_name(entry.name)
                found[label] = []
                (links if entry.is_symlink() else folders).append((label, entry.path))
            elif kind == "broken":
                self.broken.append(self._relative(entry.path))
            elif _is_image(entry):
                loose.append(self._relative(entry.path))
        while folders or links:
            label, path = (folders or links).popleft()
            if (identity := self._identity(path)) in seen:
                self.repeated.append(self._relative(path))
                continue
            seen.add(identity)
            for entry in self.visible(path):
                kind = self.kind(entry)
                if kind == "folder":
                    (links if entry.is_symlink() else folders).append((label, entry.path))
                elif kind == "broken":
                    self.broken.append(self._relative(entry.path))
                elif _is_image(entry):
                    found[label].append(self._relative(entry.path))
                else:
                    suffix = os.path.splitext(entry.name)[1].lower() or "no suffix"
                    self.others[suffix].append(self._relative(entry.path))
        prefix = self._relative(folder)
        if not any(found.values()):
            self._without_classes(folder, part, len(loose))
        if loose:
            self.unlabelled[prefix or str(folder)] = loose
        self.empty += [f"{prefix}/{label}".lstrip("/") for label in found if not found[label]]
        return [
            Listed(path, label)
            for label in sorted(found, key=natural_key)
            for path in sorted(found[label])
        ]

    def refuse_hidden_splits(self) -> None:
        """Raise ``DataError`` where every top folder holds the same folders and no image.

        Those are parts of a data set under other names (``seg_train``, ``seg_test``), not classes.
        """
        inside = {}
        for entry in self.visible(self.root):
            if self.kind(entry) == "folder":
                below = self.visible(entry.path)
                if any(_is_image(one) for one in below):
                    return
                inside[entry.name] = {one.name for one in below if self.kind(one) == "folder"}
        names = list(inside)
        if (
            len(names) > 1
            and inside[names[0]]
            and len({frozenset(i) for i in inside.values()}) == 1
        ):
            raise DataError(
                f"{told(names)} in {self.root} hold the same folders ({told(inside[names[0]])}) "
                "and no images: they look like parts of the data, not like classes",
                fix="rename them train, val and test",
            )

    def _without_classes(self, folder: str | Path, part: str, loose: int) -> None:
        """Raise ``DataError`` for a split without one labelled image, where that is no choice."""
        if loose and part != "test":  # competitions keep the labels of their test images
            raise DataError(
                f"{folder} holds {loose:,} images but no class folders",
                fix="put each image into a folder named after its class",
            )
        if part == "train" and self.others:
            raise DataError(
                f"{folder} holds no images, but files of other kinds: {_counts(self.others)}",
                fix="convert them to JPEG or PNG",
            )
        if part == "train":
            raise DataError(
                f"{folder} holds no images",
                fix="make one folder per class in it, each with its images",
            )
        if not loose:
            self.empty.append(self._relative(folder))

    def passed_over(self) -> dict[str, tuple[str, ...]]:
        """What was met and is not used: in words what it is -> the paths."""
        met = {
            EMPTY: self.empty,
            OUTSIDE: [path for paths in self.unlabelled.values() for path in paths],
            REPEATED: self.repeated,
            BROKEN: self.broken,
            OTHERS: [path for paths in self.others.values() for path in paths],
            HIDDEN: self.hidden,
        }
        return {what: tuple(sorted(paths)) for what, paths in met.items() if paths}

    def notes(self) -> list[str]:
        """What a person should know of that, one sentence each."""
        met = self.passed_over()
        if OUTSIDE in met:
            places = sorted(f"{len(paths):,} in {at}" for at, paths in self.unlabelled.items())
            met[OUTSIDE] = tuple(places)
        told_whole = (EMPTY, OUTSIDE, REPEATED, BROKEN)
        notes = [f"{what}: {told(met[what])}" for what in told_whole if what in met]
        if OTHERS in met:
            notes.append(f"{len(met[OTHERS]):,} {OTHERS}: {_counts(self.others)}")
        return notes

    def has_folders(self, entry: os.DirEntry[str]) -> bool:
        """Whether a folder holds further ones."""
        return any(self.kind(inside) == "folder" for inside in self.visible(entry.path))

    def visible(self, folder: str | Path) -> list[os.DirEntry[str]]:
        """The entries that are not hidden, by name; ``DataError`` where the folder is closed."""
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as cause:
            raise _closed(folder, cause) from cause
        visible = [entry for entry in found if not _is_hidden(entry.name)]
        self.hidden |= {self._relative(one.path) for one in found if _is_hidden(one.name)}
        return sorted(visible, key=lambda entry: entry.name)

    def kind(self, entry: os.DirEntry[str]) -> str:
        """``folder``, ``file``, or ``broken`` for what is neither or leads nowhere."""
        try:
            return "folder" if entry.is_dir() else "file" if entry.is_file() else "broken"
        except PermissionError as cause:
            raise _closed(entry.path, cause) from cause
        except OSError:  # a link to itself
            return "broken"

    def _identity(self, folder: str | Path) -> tuple[int, int]:
        try:
            status = os.stat(folder)
        except OSError as cause:
            raise _closed(folder, cause) from cause
        return status.st_dev, status.st_ino

    def _relative(self, path: str | Path) -> str:
        return str(path)[len(str(self.root)) :].replace(os.sep, "/").lstrip("/")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES


def _counts(others: dict[str, list[str]]) -> str:
    most_first = sorted(others, key=lambda suffix: -len(others[suffix]))
    return told(f"{suffix} ({len(others[suffix]):,})" for suffix in most_first)


def _closed(folder: str | Path, cause: OSError) -> DataError:
    return DataError(
        f"the folder {folder} cannot be read: {cause.strerror}",
        fix=f"give yourself the right to read it (chmod -R u+rX '{folder}'), or take it out",
    )
