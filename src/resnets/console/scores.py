"""Scores and predictions as tables and lines."""

import sys
from collections.abc import Iterable
from typing import Any

from resnets.console.text import Told, console_for, percent, print_table, printable, say

CLASSES, LOWEST = 100, 20
"""With more classes than this the table of classes holds so many of the lowest F1."""
MATRIX_CLASSES = 20
"""With more classes than this the confusion matrix gives way to the most confused pairs."""
PAIRS = 10
MISTAKES = 10
"""The rest are in ``--json``."""
HEADLINES = (
    ("accuracy", "accuracy", True),
    ("top5", "top-5 accuracy", True),
    ("calibration_error", "calibration error", True),
    ("log_loss", "log loss", False),
    ("brier", "Brier score", False),
)
"""Key, name, whether people read it in percent."""


def show_scores(scores: Told) -> None:
    """Print scores with their intervals, each class, and what was mistaken for what."""
    show_headlines(scores)
    values = scores.to_dict()
    console = console_for(sys.stdout)
    heads = ["class", ">precision", ">recall", ">F1", ">images"]
    rows, title = values["per_class"], "classes"
    if len(rows) > CLASSES:
        rows = sorted(rows, key=lambda row: row["f1"])[:LOWEST]
        title = f"the {LOWEST} classes of lowest F1 (all are in --json)"
    print_table(console, title, heads, [_class_row(row) for row in rows])
    if len(values["classes"]) <= MATRIX_CLASSES:
        heads = ["true class", *(f">{number + 1}" for number in range(len(values["classes"])))]
        print_table(
            console, "images by true class (rows) and answer (columns)", heads, _matrix(values)
        )
    else:
        heads = ["true class", "answer", ">images"]
        print_table(console, "most confused", heads, _pairs(values))
    mistakes = [
        [row["name"], row["label"], row["predicted"], percent(row["probability"])]
        for row in values["mistakes"][:MISTAKES]
    ]
    heads = ["file", "true class", "answer", ">probability"]
    print_table(console, "most confident mistakes", heads, mistakes)
    for item in values["left_out"]:
        say(f"left out: {printable(item['path'])}: {printable(item['reason'])}")
    for note in values["notes"]:
        say(f"note: {note}")


def show_headlines(scores: Told) -> None:
    """Print scores with their intervals, and what the model's threshold does."""
    values = scores.to_dict()
    console = console_for(sys.stdout)
    title = printable(f"{values['split']} of {values['data']}", encoding=console.encoding)
    print_table(
        console, title, ["", ">value", ">95 % interval", "by", ">images"], headlines(values)
    )
    if told := _selective(values):
        say(f"{told}\n")


def show_calibration(calibration: Told) -> None:
    """Print a temperature and a threshold, and what they did where they were fitted."""
    values = calibration.to_dict()
    where = printable(f"{values['n']:,} images of {values['split']} of {values['data']}")
    say(f"temperature {values['temperature']:.3f}, fitted on {where}")
    loss, error = values["log_loss"], values["calibration_error"]
    say(
        f"there: log loss {loss[0]:.3f} -> {loss[1]:.3f}, "
        f"calibration error {percent(error[0])} -> {percent(error[1])}"
    )
    if values["threshold"] is not None:
        say(
            f"unsure below {percent(values['threshold'])}, for an error of "
            f"{percent(values['target_error'])}: {percent(values['coverage'])} are answered there, "
            f"{percent(values['error'])} of these wrong\n"
        )
    for note in values["notes"]:
        say(f"note: {note}")


def show_pairs(comparison: Told) -> None:
    """Print what each pair of runs differs by, and whether that is more than chance."""
    rows = [
        [
            f"{pair['first']} - {pair['second']}",
            f"{100 * pair['difference']:+.1f}",
            f"{100 * pair['low']:+.1f} to {100 * pair['high']:+.1f}",
            f"{pair['adjusted']:.3g}",
            f"{pair['n']:,}",
            pair["verdict"],
        ]
        for pair in comparison.to_dict()["pairs"]
    ]
    heads = ["", ">points of accuracy", ">95 % interval", ">p", ">images", ""]
    print_table(console_for(sys.stdout), "more than chance? (McNemar)", heads, rows)


def show_predictions(rows: Iterable[Told]) -> None:
    """Print one line per file as soon as it is known: the file, then labels or the error."""
    for row in rows:
        values = row.to_dict()
        if "error" in values:
            told = f"error: {values['error']}"
        else:
            told = "  ".join(
                f"{each['label']} {percent(each['probability'])}" for each in values["predictions"]
            )
            told = f"unsure: {told}" if values.get("unsure") else told
        say(printable(f"{values['file']}  {told}"))


def headline(score: dict[str, Any], in_percent: bool) -> tuple[str, str]:
    """A score and its interval, as people read them."""
    scale, digits = (100, ".1f") if in_percent else (1, ".3f")
    value, low, high = (format(scale * score[part], digits) for part in ("value", "low", "high"))
    unit = " %" if in_percent else ""
    return value + unit, f"{low} to {high}{unit}"


def headlines(values: dict[str, Any]) -> list[list[str]]:
    """Rows of name, value, interval, how it was found, and images; ``values`` are scores'."""
    return [
        [name, *headline(score, in_percent), score["interval"], f"{score['n']:,}"]
        for key, name, in_percent in HEADLINES
        if (score := values[key]) is not None
    ]


def _selective(values: dict[str, Any]) -> str | None:
    """What the model's threshold does, in a sentence."""
    if not (chosen := values["selective"]):
        return None
    covered, error = chosen["coverage"], chosen["error"]
    told = f"answers of at least {percent(chosen['threshold'])}: {percent(covered['value'])} of all"
    if error:
        told += (
            f"; of these {percent(error['value'])} are wrong "
            f"({100 * error['low']:.1f} to {100 * error['high']:.1f} %)"
        )
    return told


def _class_row(row: dict[str, Any]) -> list[str]:
    shares = [percent(row[part]) for part in ("precision", "recall", "f1")]
    return [row["label"], *shares, f"{row['support']:,}"]


def _matrix(values: dict[str, Any]) -> list[list[str]]:
    return [
        [f"{index} {name}", *(str(count) if count else "." for count in counts)]
        for index, (name, counts) in enumerate(
            zip(values["classes"], values["confusion"], strict=True), start=1
        )
    ]


def _pairs(values: dict[str, Any]) -> list[list[str]]:
    """Rows of true class, predicted class, images: the pairs confused most often."""
    pairs = [
        (count, true, predicted)
        for true, counts in enumerate(values["confusion"])
        for predicted, count in enumerate(counts)
        if count and true != predicted
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    names = values["classes"]
    return [[names[true], names[predicted], str(count)] for count, true, predicted in pairs[:PAIRS]]
