"""What people read: tables, a progress bar, and plain lines where the output is no terminal.

Names come from files and may hold anything; whatever is printed passes through ``printable``.
"""

import contextlib
import dataclasses
import json
import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.text import Text

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
BIDI = frozenset("\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction marks and line separators, with which a name could disguise the line around it."""


class Told(Protocol):
    """Scores and predictions: tables are drawn from the same object that ``--json`` prints."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the keys that DESIGN's section on the command line names."""


def printable(text: str, *, encoding: str = "utf-8", keep: str = "") -> str:
    """Text any terminal shows as it is: what could move the cursor or has no glyph is escaped.

    >>> printable("two\\nlines")
    'two\\\\nlines'
    """
    shown = "".join(
        character.encode("unicode_escape").decode()
        if character not in keep and (unicodedata.category(character) == "Cc" or character in BIDI)
        else character
        for character in text
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def say(text: str) -> None:
    """Print a result on standard output."""
    _write(sys.stdout, text)


def warn(text: str) -> None:
    """Print what a person should know on standard error, where it joins no result."""
    _write(sys.stderr, text)


def show_scores(scores: Told) -> None:
    """Print scores with their intervals, each class, and what was mistaken for what."""
    values = scores.to_dict()
    console = _console(sys.stdout)
    title = printable(f"{values['split']} of {values['data']}", encoding=console.encoding)
    _table(console, title, ["", ">value", ">95 % interval", "by", ">images"], _headlines(values))
    heads = ["class", ">precision", ">recall", ">F1", ">images"]
    rows, title = values["per_class"], "classes"
    if len(rows) > CLASSES:
        rows = sorted(rows, key=lambda row: row["f1"])[:LOWEST]
        title = f"the {LOWEST} classes of lowest F1 (all are in --json)"
    _table(console, title, heads, [_class_row(row) for row in rows])
    if len(values["classes"]) <= MATRIX_CLASSES:
        heads = ["true class", *(f">{number + 1}" for number in range(len(values["classes"])))]
        _table(console, "images by true class (rows) and answer (columns)", heads, _matrix(values))
    else:
        heads = ["true class", "answer", ">images"]
        _table(console, "most confused", heads, _pairs(values))
    mistakes = [
        [row["name"], row["label"], row["predicted"], percent(row["probability"])]
        for row in values["mistakes"][:MISTAKES]
    ]
    heads = ["file", "true class", "answer", ">probability"]
    _table(console, "most confident mistakes", heads, mistakes)
    for item in values["left_out"]:
        say(f"left out: {printable(item['path'])}: {printable(item['reason'])}")
    for note in values["notes"]:
        say(f"note: {note}")


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
        say(printable(f"{values['file']}  {told}"))


def show_models(rows: Iterable[Any], *, as_json: bool = False) -> None:
    """Print networks by name, parameters, input size and source, as a table or as JSON."""
    models = [dataclasses.asdict(row) for row in rows]
    if as_json:
        print(json.dumps(models))
        return
    cells = [
        [
            row["name"],
            f"{row['parameters']:,}",
            "x".join(map(str, row["input_size"])),
            row["source"],
        ]
        for row in models
    ]
    _table(_console(sys.stdout), "networks", ["model", ">parameters", ">input", "source"], cells)


class Progress:
    """A progress bar on a terminal, plain lines elsewhere; on standard error, beside any result.

    ``with Progress() as progress:`` then ``begin``, ``advance`` and ``line``. A quiet one prints
    nothing.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet = quiet
        self._stream = stream
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        stream = self._stream or sys.stderr
        if not self._quiet and _is_terminal(stream):
            self._bar = _bar(stream)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def begin(self, description: str, total: int | None) -> None:
        """Show a bar for ``total`` images, in place of the one before."""
        self.end()
        if self._bar:
            self._began, self._done = time.monotonic(), 0
            self._bar.add_task(printable(description), total=total, figures="")

    def advance(
        self,
        n: int = 1,
        *,
        loss: float | None = None,
        accuracy: float | None = None,
        rate: float | None = None,
    ) -> None:
        """Count n more images.

        Args:
            accuracy: a fraction.
            rate: images per second; by default the average since ``begin``.
        """
        if not self._bar or not self._bar.task_ids:
            return
        self._done += n
        rate = rate or self._done / max(1e-3, time.monotonic() - self._began)
        figures = [f"loss {loss:.3f}"] if loss is not None else []
        figures += [f"accuracy {percent(accuracy)}"] if accuracy is not None else []
        figures += [f"{rate:,.0f} images/s"]
        self._bar.update(self._bar.task_ids[-1], advance=n, figures="  ".join(figures))

    def end(self) -> None:
        """Take the bar away."""
        if self._bar:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)

    def line(self, text: str) -> None:
        """Print a line that stays, above the bar where there is one."""
        if self._bar:
            self._bar.console.print(_text(text, self._bar.console, keep="\n"), soft_wrap=True)
        elif not self._quiet:
            with contextlib.suppress(BrokenPipeError):  # a reader that left ends no training
                _write(self._stream or sys.stderr, text)


def percent(share: float) -> str:
    """A fraction as people read it.

    >>> percent(0.913)
    '91.3 %'
    """
    return f"{100 * share:.1f} %"


def _headlines(values: dict[str, Any]) -> list[list[str]]:
    rows = []
    for key, name, in_percent in HEADLINES:
        if (score := values[key]) is None:
            continue
        scale, digits = (100, ".1f") if in_percent else (1, ".3f")
        value, low, high = (
            format(scale * score[part], digits) for part in ("value", "low", "high")
        )
        unit = " %" if in_percent else ""
        rows.append(
            [name, value + unit, f"{low} to {high}{unit}", score["interval"], f"{score['n']:,}"]
        )
    return rows


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


def _table(console: "Console", title: str, columns: Sequence[str], rows: list[list[str]]) -> None:
    """Print rows below column heads; the columns called by a leading ">" are set to the right."""
    if not rows:
        return
    from rich import box
    from rich.table import Table

    console.print(title, style="bold")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in columns:
        right = column.startswith(">")
        name = column.removeprefix(">")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(cell, console) for cell in row))
    console.print(table)
    console.print()


def _text(text: str, console: "Console", *, keep: str = "") -> "Text":
    from rich.text import Text

    return Text(printable(text, encoding=console.encoding, keep=keep))


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    wide = None if _is_terminal(stream) else 1000  # a file or a pipe has no edge to wrap at
    return Console(file=stream, width=wide, markup=False, highlight=False, emoji=False)


def _bar(stream: TextIO) -> "Bar":
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[figures]}", markup=False),
        progress.TimeRemainingColumn(),
        console=_console(stream),
        transient=True,
        expand=True,
        redirect_stdout=_is_terminal(sys.stdout),  # a result in a pipe must stay there
    )


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _write(stream: TextIO, text: str) -> None:
    print(
        printable(text, encoding=stream.encoding or "utf-8", keep="\n\t"), file=stream, flush=True
    )
