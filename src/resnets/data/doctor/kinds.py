"""The kinds of findings: how much each matters, what it does to the result, what to type."""

from dataclasses import dataclass
from typing import Literal

Weight = Literal["stops", "harms", "noted"]
"""stops: no training run unless allowed by name. harms: exit code 1. noted: good to know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What all findings of a kind share."""

    weight: Weight
    effect: str
    """What it would do to the result."""
    fix: str
    """What to do about it; DATA stands for the data set, FILE for a path of the finding."""


UNREADABLE = "it is left out of training and scoring, and no other image takes its place"
REPLACE = "replace FILE by a sound copy, or remove it: rm FILE"

KINDS = {  # most harmful first: the order in which findings are told
    "duplicates": Kind(
        weight="stops",
        effect="training has seen what it is scored on: the score says too much",
        fix="remove one of each: rm FILE; or resnets train DATA --allow duplicates",
    ),
    "two-labels": Kind(
        weight="harms",
        effect="one of the labels is wrong: it trains the wrong answer, or counts a right one "
        "as a mistake",
        fix="keep the right one: rm FILE",
    ),
    "bit-rot": Kind(
        weight="harms",
        effect="the file changed under its old size and date, as a failing disk does: its pixels "
        "may be wrong",
        fix="put FILE back from a backup and look after the disk; or, if it is right: touch FILE",
    ),
    "no-permission": Kind(weight="harms", effect=UNREADABLE, fix="chmod u+r FILE"),
    "empty-file": Kind(weight="harms", effect=UNREADABLE, fix=REPLACE),
    "truncated": Kind(weight="harms", effect=UNREADABLE, fix=REPLACE),
    "no-picture": Kind(weight="harms", effect=UNREADABLE, fix=REPLACE),
    "too-large": Kind(
        weight="harms", effect=UNREADABLE, fix="make FILE smaller, or remove it: rm FILE"
    ),
    "damaged": Kind(weight="harms", effect=UNREADABLE, fix=REPLACE),
    "near-duplicates": Kind(
        weight="harms",
        effect="training has seen almost what it is scored on: the score says too much",
        fix="look at the pairs: resnets data DATA --html pairs.html; then rm FILE",
    ),
    "empty-class": Kind(
        weight="harms",
        effect="no image of it is trained on: it is no class of the model",
        fix="put images into FILE, or remove it: rmdir FILE",
    ),
    "missing-class": Kind(
        weight="harms",
        effect="nothing is known of how well this class is told",
        fix="put images of it into that split",
    ),
    "tiny-class": Kind(
        weight="harms",
        effect="so few images teach little, and their score is mostly chance",
        fix="add images, or leave the class out",
    ),
    "copies": Kind(
        weight="harms",
        effect="in training they count as often as they are there; in a test they make the score "
        "look surer than it is",
        fix="keep one of each: rm FILE",
    ),
    "imbalance": Kind(
        weight="noted",
        effect="rare classes are answered less often than they occur",
        fix="resnets train DATA --balance weights",
    ),
    "odd-sizes": Kind(
        weight="noted",
        effect="enlarged or cut to the network's shape, they show little of what they should",
        fix="look at FILE",
    ),
    "rotated": Kind(
        weight="noted",
        effect="turned upright here, by EXIF; programs that ignore EXIF see them lying",
        fix="nothing here; for other programs: exiftran -ai FILE",
    ),
    "converted": Kind(
        weight="noted",
        effect="they become 8-bit RGB: CMYK without colour profile, 16 bits rounded, "
        "transparency over white",
        fix="nothing, unless the colours matter",
    ),
    "wrong-ending": Kind(
        weight="noted",
        effect="read by their contents here; other programs may go by the name",
        fix="rename FILE",
    ),
    "odd-names": Kind(
        weight="noted",
        effect="they are told with escapes; other programs may not open them",
        fix="rename FILE",
    ),
    "passed-over": Kind(
        weight="noted",
        effect="not trained on and not scored",
        fix="move what should be used into a class folder, under a picture's ending",
    ),
}

ALLOWED_IN_TRAINING = ("duplicates", "unreadable")
"""What ``resnets train --allow`` knows; all unreadable files together are one of them."""

REASONS = (  # of decoding -> the kind
    ("Permission denied|may not be read", "no-permission"),
    ("is empty|only zero bytes", "empty-file"),
    ("cut short", "truncated"),
    ("pixels, more than|has more than|fit into memory", "too-large"),
    (r"which is not read|no picture|macOS companion|Git LFS|archive|^is an? ", "no-picture"),
    ("", "damaged"),
)
OF_READING = frozenset(kind for _, kind in REASONS)
"""The kinds of unreadable files."""
