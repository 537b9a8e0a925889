"""Plain text and tables on any terminal, file or pipe."""

import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

BIDI = frozenset("\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction marks and line separators, with which a name could disguise the line around it."""


class Told(Protocol):
    """Tables are drawn from the same object that ``--json`` prints."""

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
    write(sys.stdout, text)


def warn(text: str) -> None:
    """Print what a person should know on standard error, where it joins no result."""
    write(sys.stderr, text)


def percent(share: float) -> str:
    """A fraction as people read it.

    >>> percent(0.913)
    '91.3 %'
    """
    return f"{100 * share:.1f} %"


def print_table(
    console: "Console", title: str, columns: Sequence[str], rows: list[list[str]]
) -> None:
    """Print rows below column heads; the columns called by a leading ">" are set to the right."""
    if not rows:
        return
    from rich import box
    from rich.table import Table

    console.print(title, style="bold")
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in columns:
        right = column.startswith(">")
        name = column.removeprefix(">")
        drawn.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(text_for(cell, console) for cell in row))
    console.print(drawn)
    console.print()


def text_for(text: str, console: "Console", *, keep: str = "") -> "Text":
    """Text for rich, which escapes nothing by itself."""
    from rich.text import Text

    return Text(printable(text, encoding=console.encoding, keep=keep))


def console_for(stream: TextIO) -> "Console":
    """A rich console that shows text as it is."""
    from rich.console import Console

    wide = None if is_terminal(stream) else 1000  # a file or a pipe has no edge to wrap at
    return Console(file=stream, width=wide, markup=False, highlight=False, emoji=False)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at it and it can move the cursor."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def write(stream: TextIO, text: str) -> None:
    """Print a text, whatever characters it holds."""
    print(
        printable(text, encoding=stream.encoding or "utf-8", keep="\n\t"), file=stream, flush=True
    )
