"""What people read: tables, a progress bar, and plain lines where the output is no terminal.

Names come from files and may hold anything; whatever is printed passes through ``printable``.
"""

from resnets.console.experiments import show_errors
from resnets.console.exports import show_proof
from resnets.console.findings import show_findings
from resnets.console.networks import (
    show_comparison,
    show_description,
    show_models,
    show_verdicts,
)
from resnets.console.progress import Progress
from resnets.console.reasons import show_explanation, show_neighbours
from resnets.console.scores import (
    show_calibration,
    show_headlines,
    show_pairs,
    show_predictions,
    show_scores,
)
from resnets.console.speed import show_benchmark
from resnets.console.text import percent, printable, say, warn

__all__ = [
    "Progress",
    "percent",
    "printable",
    "say",
    "show_benchmark",
    "show_calibration",
    "show_comparison",
    "show_description",
    "show_errors",
    "show_explanation",
    "show_findings",
    "show_headlines",
    "show_models",
    "show_neighbours",
    "show_pairs",
    "show_predictions",
    "show_proof",
    "show_scores",
    "show_verdicts",
    "warn",
]
