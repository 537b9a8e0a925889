"""Explanations and neighbours as lines."""

from typing import Any

from resnets.console.text import percent, printable, say


def show_explanation(row: dict[str, Any]) -> None:
    """Print one file's classes with their scores and where the picture lies, or the error."""
    if "error" in row:
        say(printable(f"{row['file']}  error: {row['error']}"))
        return
    say(printable(f"{row['file']}  -> {row['picture']}"))
    for each in row["classes"]:
        told = (
            f"  {each['label']} {percent(each['probability'])}"
            f"  deletion {each['deletion']:.3f}  insertion {each['insertion']:.3f}"
        )
        if "correlation" in each:
            verdict = "PASS" if each["passed"] else "FAIL"
            told += f"  {verdict}: correlation with random weights {each['correlation']:+.2f}"
        say(printable(told))


def show_neighbours(row: dict[str, Any]) -> None:
    """Print an image and those nearest to it, with label and similarity."""
    say(printable(f"{row['name']}{_label(row)}"))
    for each in row["neighbours"]:
        say(printable(f"  {each['similarity']:.3f}  {each['name']}{_label(each)}"))


def _label(row: dict[str, Any]) -> str:
    return f"  ({row['label']})" if row["label"] else ""
