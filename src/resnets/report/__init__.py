"""A run as one HTML file, and several runs beside each other: read from the runs' own files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resnets.data.sources import Dataset
from resnets.errors import UnreadableImage
from resnets.report.comparison import Comparison, compare, comparison_page
from resnets.report.facts import RunFacts, facts_of, read_run
from resnets.report.page import Picture, run_page
from resnets.sealing import make_folder, write_durably

__all__ = ["Comparison", "RunFacts", "compare", "facts_of", "read_run", "write_comparison"]

REPORT = "report.html"


def write_report(
    path: str | Path,
    *,
    out: Path | None = None,
    dataset: Dataset | None = None,
    samples: Sequence[np.ndarray] = (),
) -> Path:
    """Draw a run's report; returns where it lies, by default ``report.html`` in the run folder.

    Args:
        dataset: the run's data, for its pictures; without it the report has none.
        samples: (H, W, 3) uint8, training images as the network saw them.

    Raises ``ModelFileError`` for what is no finished run and ``CannotGoOn`` when the disk refuses.
    """
    run = read_run(path)
    out = out or run.path / REPORT
    html = run_page(run, facts_of(run), _pictures_of(dataset, run.answers.split), samples)
    make_folder(out.absolute().parent)
    write_durably(out, html.encode())
    return out


def write_comparison(runs: Sequence[str | Path], out: Path) -> Comparison:
    """Draw runs beside each other into a file. Raises what ``compare`` and ``write_report`` do."""
    comparison = compare([read_run(run) for run in runs])
    make_folder(out.absolute().parent)
    write_durably(out, comparison_page(comparison).encode())
    return comparison


def _pictures_of(dataset: Dataset | None, part: str) -> Picture:
    """Where the page gets an image of the split from."""
    split = dataset.splits.get(part) if dataset else None
    places = {name: index for index, name in enumerate(split.names)} if split else {}

    def picture(name: str) -> np.ndarray | None:
        if split is None or name not in places:
            return None
        try:
            return split.images[places[name]]
        except (OSError, UnreadableImage):  # gone since
            return None

    return picture
