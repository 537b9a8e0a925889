"""A progress bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from resnets.console.text import console_for, is_terminal, percent, printable, text_for, write

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


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
        if not self._quiet and is_terminal(stream):
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

    def begin(self, description: str, total: int | None, *, unit: str = "images") -> None:
        """Show a bar for ``total`` images, or of whatever unit, in place of the one before."""
        self.end()
        if self._bar:
            self._began, self._done, self._unit = time.monotonic(), 0, unit
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
        figures += [f"{rate:,.0f} {self._unit}/s"]
        self._bar.update(self._bar.task_ids[-1], advance=n, figures="  ".join(figures))

    def end(self) -> None:
        """Take the bar away."""
        if self._bar:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)

    def line(self, text: str) -> None:
        """Print a line that stays, above the bar where there is one."""
        if self._bar:
            self._bar.console.print(text_for(text, self._bar.console, keep="\n"), soft_wrap=True)
        elif not self._quiet:
            with contextlib.suppress(BrokenPipeError):  # a reader that left ends no training
                write(self._stream or sys.stderr, text)


def _bar(stream: TextIO) -> "Bar":
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=None),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[figures]}", markup=False),
        progress.TimeRemainingColumn(),
        console=console_for(stream),
        transient=True,
        expand=True,
        redirect_stdout=is_terminal(sys.stdout),  # a result in a pipe must stay there
    )
