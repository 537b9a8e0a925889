"""The same picture more than once: by bytes and pixels exactly, and nearly."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnets.data.doctor.findings import Finding, Item, counted, finding
from resnets.data.ledger import Facts
from resnets.data.likeness import SIDE, fingerprints, likeness, near_pairs, radius_for
from resnets.data.sources import SPLITS

RADIUS = 14
"""Bits of 64 in which fingerprints may differ to be looked at."""
LOOKED_AT = 3
"""Pairs that are looked at, for each image: where all pictures are of one kind, as digits are,
the radius shrinks to that."""
ALIKE = 0.5
"""The likeness from which two pictures are near duplicates, and never less than
``ABOVE_CHANCE`` deviations above that of pictures of one class drawn by chance."""
ABOVE_CHANCE = 6.0
OTHER_LABEL = 0.8
"""The least likeness of near duplicates under two labels: these are rare, and small things before
a bare sky are alike."""
DRAWN = 10_000
"""Pairs drawn to know what chance gives."""
PLAIN = 4.0
"""Levels of grey. Pictures that vary by less show nothing to compare."""


class Entry(NamedTuple):
    """One image of a data set."""

    part: str
    name: str
    label: str
    facts: Facts


def exact(
    entries: Sequence[Entry], source: str, *, stops: bool
) -> tuple[list[Finding], list[Item]]:
    """Copies across splits and within one, and those among them that have several labels."""
    across: list[tuple[list[Entry], Item]] = []
    within: list[tuple[list[Entry], Item]] = []
    labels = []
    for group in _same(entries):
        item = Item(tuple(entry.name for entry in group), _sameness(group))
        (across if len({entry.part for entry in group}) > 1 else within).append((group, item))
        if len({entry.label for entry in group}) > 1:
            labels.append(_with_labels(group, item.note))
    found = []
    if across:
        counts: Counter[tuple[str, str]] = Counter()
        for group, _ in across:
            first = min((entry.part for entry in group), key=SPLITS.index)
            counts.update((entry.part, first) for entry in group if entry.part != first)
        told = [
            counted(
                count, f"image of {part} is in {first} too", f"images of {part} are in {first} too"
            )
            for (part, first), count in counts.items()
        ]
        found.append(
            finding(
                "duplicates",
                " and ".join(told),
                [item for _, item in across],
                source=source,
                count=counts.total(),
                stops=stops,
            )
        )
    if within:
        count = sum(len(group) - 1 for group, _ in within)
        what = counted(
            count,
            "image is a further copy of another of its split",
            "images are further copies of others of their split",
        )
        items = [item for _, item in within]
        found.append(finding("copies", what, items, source=source, count=count))
    return found, labels


def two_labels(items: Sequence[Item], source: str) -> list[Finding]:
    """The same picture under more than one label, where there is such a one."""
    what = counted(len(items), "picture has two labels", "pictures have two labels")
    return [finding("two-labels", what, items, source=source)] if items else []


def _same(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Groups of entries with the same bytes or the same pixels."""
    pixels = {entry.facts.digest: entry.facts.pixels for entry in entries if entry.facts.pixels}
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[pixels.get(entry.facts.digest, entry.facts.digest)].append(entry)
    return (group for group in groups.values() if len(group) > 1)


def _sameness(group: Sequence[Entry]) -> str:
    inodes = {entry.facts.inode for entry in group}
    if len(inodes) == 1 and None not in inodes:
        return "one file under several names"
    digests = {entry.facts.digest for entry in group}
    return "the same bytes" if len(digests) == 1 else "the same pixels"


def _with_labels(group: Sequence[Entry], note: str) -> Item:
    labels = ", ".join(dict.fromkeys(entry.label for entry in group))
    return Item(tuple(entry.name for entry in group), f"{note}: {labels}")


@dataclass(frozen=True)
class _Part:
    """The images of a split that can be compared."""

    entries: list[Entry]
    small: NDArray[np.uint8]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "_Part":
        known = [entry for entry in entries if entry.facts.small]
        pixels = b"".join(entry.facts.small for entry in known)
        small = np.frombuffer(pixels, np.uint8).reshape(len(known), SIDE, SIDE)
        varied = np.flatnonzero(small.std(axis=(1, 2)) >= PLAIN)
        return cls([known[index] for index in varied], small[varied])


class _Match(NamedTuple):
    """Two images that are nearly the same."""

    score: float
    mirrored: bool
    entry: Entry
    twin: Entry
    """Of an earlier split."""


_score = attrgetter("score")


def near(
    entries: Sequence[Entry], source: str, *, deadline: float = float("inf")
) -> tuple[list[Finding], list[Item], int]:
    """Near duplicates across splits, mirrored ones too, and those with several labels.

    What is the same exactly is told by ``exact`` and not again. The number is that of images
    whose turn had not come by the deadline.
    """
    by_part: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_part[entry.part].append(entry)
    parts = [_Part.of(by_part[name]) for name in SPLITS if by_part[name]]
    matches: dict[str, dict[str, _Match]] = defaultdict(dict)
    left = 0
    for many, few in itertools.combinations(parts, 2):
        found, missed = _near(few, many, deadline)
        left += missed
        for match in sorted(found, key=_score):  # the best of a picture and its mirror image stays
            matches[match.entry.name][match.twin.name] = match
    groups = [sorted(twins.values(), key=_score, reverse=True) for twins in matches.values()]
    groups.sort(key=lambda group: group[0].score, reverse=True)
    items = [_alike(group) for group in groups]
    labels = [
        _with_labels((best.entry, best.twin), items[index].note)
        for index, (best, *_) in enumerate(groups)
        if best.entry.label != best.twin.label
    ]
    what = counted(
        len(items),
        "image of val or test is a near duplicate of an image of another split",
        "images of val or test are near duplicates of images of other splits",
    )
    findings = [finding("near-duplicates", what, items, source=source)] if items else []
    return findings, labels, left


def _alike(group: Sequence[_Match]) -> Item:
    """An image and those that are like it, the most alike first."""
    best = group[0]
    note = f"likeness {best.score:.2f}{', mirrored' * best.mirrored}"
    return Item((best.entry.name, *(match.twin.name for match in group)), note)


def _near(few: _Part, many: _Part, deadline: float) -> tuple[list[_Match], int]:
    """The near duplicates of two splits, and how many images of the first were not compared."""
    if not few.entries or not many.entries:
        return [], 0
    bar = _bar(few, many)
    others = fingerprints(many.small)
    most = LOOKED_AT * (len(few.entries) + len(many.entries))
    done, found = 0, []
    for mirrored in (False, True):
        small = few.small[:, :, ::-1] if mirrored else few.small
        own = fingerprints(small)
        radius = radius_for(own, others, largest=RADIUS, most=most)
        for rows, pairs in near_pairs(own, others, radius, deadline=deadline):
            done += rows
            scores = likeness(small[pairs[:, 0]], many.small[pairs[:, 1]])
            for score, (one, two) in zip(scores.tolist(), pairs, strict=True):
                entry, twin = few.entries[one], many.entries[two]
                least = max(bar[entry.label], OTHER_LABEL * (entry.label != twin.label))
                if score >= least and entry.facts.pixels != twin.facts.pixels:
                    found.append(_Match(score, mirrored, entry, twin))
    return found, len(few.entries) - done // 2


def _bar(few: _Part, many: _Part) -> dict[str, float]:
    """The likeness that near duplicates of each class need, by pairs of it drawn by chance.

    Likeness is a squared correlation; Fisher's z makes its deviations comparable. Quantiles,
    not moments: near duplicates among the pairs would raise them.
    """
    members: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, part in enumerate((few, many)):
        for index, entry in enumerate(part.entries):
            members[entry.label][side].append(index)
    bar = {}
    rng = np.random.default_rng(0)
    each = max(100, DRAWN // len(members))
    for label, (ones, twos) in members.items():
        bar[label] = ALIKE
        if ones and twos:
            count = min(each, len(ones) * len(twos))
            drawn = rng.choice(ones, count), rng.choice(twos, count)
            chance = likeness(few.small[drawn[0]], many.small[drawn[1]])
            z = np.arctanh(np.sqrt(np.minimum(chance, 1 - 1e-9)))
            middle, upper = np.quantile(z, (0.5, 0.84))
            bar[label] = max(ALIKE, float(np.tanh(middle + ABOVE_CHANCE * (upper - middle))) ** 2)
    return bar
