"""A step whose loss or gradients are not finite: written down, and passed over where asked."""

from resnets.config import TrainConfig
from resnets.console import Progress
from resnets.data.listing import told
from resnets.data.sources import Split
from resnets.errors import CannotGoOn
from resnets.training.loop import NotFinite
from resnets.training.preparing import order_of
from resnets.training.runfolder import RunFolder
from resnets.training.state import TrainingState

SKIPS = 10
"""Steps that may be passed over, and one more for every 1,000 steps."""


def skip_or_stop(
    problem: NotFinite,
    state: TrainingState,
    config: TrainConfig,
    split: Split,
    folder: RunFolder,
    display: Progress,
) -> None:
    """Write down which images the step had; go on only where that was asked for, and seldom.

    Raises ``CannotGoOn``.
    """
    names = images_at(state.step, config, split)
    report = folder.path / "nonfinite.json"
    try:
        folder.add_not_finite(report, state.step + 1, str(problem), names)
    except CannotGoOn as refused:
        display.line(refused.problem)
    what = f"step {state.step + 1}: {problem}"
    may_skip = config.on_nonfinite == "skip"
    if may_skip and len(state.skipped) < SKIPS + state.step // 1000:
        display.line(f"skipped {what}; its images are in {report}")
        return
    often = f" after {len(state.skipped)} skipped steps" if state.skipped else ""
    raise CannotGoOn(
        f"{what}{often}; the weights before it are kept; its images are in {report}: "
        f"{told(names, most=3)}",
        fix="look at these images; or try a lower rate, such as "
        f"--lr {config.learning_rate / 4:.2g} --fresh"
        + ("" if may_skip else ", or --on-nonfinite skip"),
    )


def images_at(step: int, config: TrainConfig, split: Split) -> list[str]:
    """What the images of a step's batch are called, each once."""
    window = order_of(config, split).window(step, config.batch_size)
    return list(dict.fromkeys(split.names[sample] for sample in window.samples))
