"""The outcome of the degradation experiment in words that follow its figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resnets.console import percent
from resnets.report import compare

if TYPE_CHECKING:
    from resnets.experiments.degradation import Learned

VANISHED, GROWN = 0.01, 10.0
"""A signal that arrives with less than the one share of what set out has vanished, and with more
than the other it has grown."""
TINY = 1e-30


def told(nets: Sequence["Learned"]) -> str:
    """One paragraph: the errors of plain and residual networks, and what became of the signals."""
    first = nets[0]
    sentences = [
        f"Every network took the same {first.last['step']:,} steps of "
        f"{first.run.config.batch_size} images, in the same order, with the same augmentation and "
        "the same learning rates, once each. Training error is of augmented images, as they are "
        "trained on; validation error is of images held out of the training images (the paper's "
        "Figure 6 draws test error)."
    ]
    for residual in (False, True):
        kind = sorted((n for n in nets if n.residual is residual), key=lambda net: net.layers)
        if len(kind) > 1 and kind[0].layers < kind[-1].layers:
            sentences += _of_depth(kind[0], kind[-1])
    deepest = [
        max(kind, key=lambda net: net.layers)
        for residual in (False, True)
        if (kind := [net for net in nets if net.residual is residual])
    ]
    return " ".join([*sentences, *_of_signals(*deepest)])


def _of_depth(shallow: "Learned", deep: "Learned") -> list[str]:
    """What more layers did to the errors."""
    worse = deep.last["val_error"] > shallow.last["val_error"]
    harder_to_train = deep.last["train_error"] > shallow.last["train_error"]
    if deep.residual and worse:
        outcome = (
            "in so short a schedule the deeper network did not overtake the other one, as it does "
            "in the paper's Figure 6 (middle)"
        )
    elif deep.residual:
        outcome = (
            "the deeper network does not end above the other one, as in the paper's Figure 6 "
            "(middle)"
        )
    elif not worse:
        outcome = (
            "in so short a schedule the degradation of the paper's Figure 6 (left) did not show"
        )
    elif harder_to_train:
        outcome = (
            "the deeper network is the worse one, and on the very images it is trained on, so it "
            "does not overfit; it is harder to train. This is the degradation of the paper's "
            "Figure 6 (left)"
        )
    else:
        outcome = (
            "the deeper network is the worse one, but not on the images it is trained on: this is "
            "overfitting, and not the degradation of the paper's Figure 6 (left)"
        )
    begin = "With shortcuts" if deep.residual else "Without shortcuts"
    return [
        f"{begin} {deep.net} ended with {_errors(deep)}, {shallow.net} with {_errors(shallow)}: "
        f"{outcome}.",
        _of_test(shallow, deep),
    ]


def _of_test(shallow: "Learned", deep: "Learned") -> str:
    """The difference on the images that both answered at the end, with its interval."""
    pair = compare([shallow.run, deep.run]).pairs[0]
    share, low, high = (100 * value for value in (pair.difference, pair.low, pair.high))
    split = deep.run.answers.split
    judged = "" if pair.more_than_chance else ", which may be chance"
    return (
        f"On {pair.n:,} images of {split} the error of {deep.net} is {share:+.1f} points from that "
        f"of {shallow.net} (95 %: {low:+.1f} to {high:+.1f}{judged})."
    )


def _of_signals(net: "Learned", other: "Learned | None" = None) -> list[str]:
    """Whether what goes through a deep network gets lost (Section 4.1), and through another one."""
    stds = {
        when: [signal.response_std for signal in signals] for when, signals in net.signals.items()
    }
    shares = _arrived(net)
    least = min(*shares, *(min(values) / max(values) for values in stds.values()))
    verdict = (
        "nothing vanishes, as the paper's Section 4.1 argues of networks with batch norm"
        if least > VANISHED
        else "a signal does vanish, other than the paper's Section 4.1 argues"
    )
    spreads = [f"{min(values):.2g} to {max(values):.2g}" for values in stds.values()]
    said = [
        f"In {net.net} {verdict}: the responses of its layers have standard deviations of "
        f"{spreads[0]} before the first step and {spreads[1]} after the last, and the gradient at "
        f"its first layer is {_times(shares)}."
    ]
    if max(shares) > GROWN:
        beside = f"; in {other.net} it is {_times(_arrived(other))}" if other else ""
        said.append(f"On its way back the gradient grows{beside}.")
    return said


def _arrived(net: "Learned") -> list[float]:
    """The gradient's norm at the first layer by that at the last: at the start, and at the end."""
    return [
        signals[0].gradient_norm / max(signals[-1].gradient_norm, TINY)
        for signals in net.signals.values()
    ]


def _times(shares: Sequence[float]) -> str:
    start, end = (f"{share:,.0f}" if share >= 10 else f"{share:.2g}" for share in shares)
    return f"{start} times that at its last before the first step, {end} times after the last"


def _errors(net: "Learned") -> str:
    last = net.last
    return (
        f"{percent(last['train_error'])} training and {percent(last['val_error'])} validation error"
    )
