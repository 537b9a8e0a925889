"""The outcome of the degradation experiment in words that follow its figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resnets.console import percent
from resnets.report import compare

if TYPE_CHECKING:
    from resnets.experiments.degradation import Learned

VANISHED = 0.01
"""A gradient that arrives with less than this share of what set out has vanished."""


def told(nets: Sequence["Learned"]) -> str:
    """One paragraph: the errors of plain and residual networks, and what became of the signals."""
    first = nets[0]
    sentences = [
        f"Every network took the same {first.last['step']:,} steps of "
        f"{first.run.config.batch_size} images, in the same order, with the same augmentation and "
        "the same learning rates, once each."
    ]
    for residual in (False, True):
        kind = sorted((n for n in nets if n.residual is residual), key=lambda net: net.layers)
        if len(kind) > 1 and kind[0].layers < kind[-1].layers:
            sentences += _of_depth(kind[0], kind[-1])
    sentences += _of_signals(max(nets, key=lambda net: (not net.residual, net.layers)))
    return " ".join(sentences)


def _of_depth(shallow: "Learned", deep: "Learned") -> list[str]:
    """What more layers did to the errors."""
    names = {True: f"With shortcuts {deep.net}", False: f"Without shortcuts {deep.net}"}
    begin = names[deep.residual]
    ends = f"{_ended(deep)}, {shallow.net} with {_errors(shallow)}"
    worse_val = deep.last["val_error"] > shallow.last["val_error"]
    worse_train = deep.last["train_error"] > shallow.last["train_error"]
    said = []
    if worse_val and deep.residual:
        said += [
            f"{begin} still {ends}: in so short a schedule the deeper network did not overtake the "
            "other one, as it does in the paper's Figure 6 (middle)."
        ]
    elif worse_val:
        said += [f"{begin} {ends}: the deeper network is the worse one."]
        said += (
            [
                "It does worse on the very images it is trained on, so it does not overfit; it is "
                "harder to train. This is the degradation of the paper's Figure 6 (left)."
            ]
            if worse_train
            else [
                "But on the images it is trained on it is the better one: this is overfitting, and "
                "not the degradation of the paper's Figure 6 (left)."
            ]
        )
    elif deep.residual:
        said += [
            f"{begin} {ends}: the deeper network does not end above the other one, as in the "
            "paper's Figure 6 (middle)."
        ]
    else:
        said += [
            f"{begin} {ends}: in so short a schedule the degradation of the paper's Figure 6 "
            "(left) did not show."
        ]
    return [*said, _of_test(shallow, deep)]


def _of_test(shallow: "Learned", deep: "Learned") -> str:
    """The difference on the images that both answered at the end, with its interval."""
    pair = compare([shallow.run, deep.run]).pairs[0]
    share, low, high = (100 * value for value in (pair.difference, pair.low, pair.high))
    split = deep.run.answers.split
    judged = "" if pair.more_than_chance else ", which may be chance"
    return (
        f"On {pair.n:,} images of {split} its error is {share:+.1f} points from the other's "
        f"(95 %: {low:+.1f} to {high:+.1f}{judged})."
    )


def _of_signals(net: "Learned") -> list[str]:
    """Whether what goes through the deepest plain network gets lost (Section 4.1)."""
    said, arrived = [], []
    for when, signals in net.signals.items():
        stds = [signal.response_std for signal in signals]
        norms = [signal.gradient_norm for signal in signals]
        share = norms[0] / norms[-1] if norms[-1] else 0.0
        arrived.append(share)
        moment = "before the first step" if when == "start" else "after the last"
        said.append(
            f"{moment} the responses of its layers have standard deviations of {min(stds):.2g} to "
            f"{max(stds):.2g}, and the gradient at its first layer is {share:.2g} times that at "
            "its last"
        )
    verdict = (
        "so neither vanishes on its way, as the paper's Section 4.1 argues of networks with batch "
        "norm"
        if min(arrived) > VANISHED
        else "so the gradient vanishes on its way, other than the paper's Section 4.1 argues"
    )
    return [f"In {net.net}, {'; '.join(said)}; {verdict}."]


def _ended(net: "Learned") -> str:
    return f"ended with {_errors(net)}"


def _errors(net: "Learned") -> str:
    last = net.last
    return (
        f"{percent(last['train_error'])} training and {percent(last['val_error'])} validation error"
    )
