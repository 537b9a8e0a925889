"""Weights -> the state of a network, whole or not at all."""

import dataclasses
import logging
from typing import Any

import torch
from torch import Tensor, nn

from resnets.errors import ConfigError, ModelFileError
from resnets.models.network import Network
from resnets.models.specs import Spec, spec_of
from resnets.models.weights.names import translate
from resnets.models.weights.record import Weights

SHOWN = 5
"""Of the tensors that do not fit, an error shows so many."""
PASSED_OVER = ("preprocess.mean_image", "num_batches_tracked")
"""What a sealed model holds beside its network's state, and what frozen batch norms lack."""
AUXILIARY = ("aux1.", "aux2.")
"""GoogLeNet's other heads, of use in training only."""
SAME_WEIGHTS = {
    "family", "classes", "input_size", "sides", "source", "note",
    "zero_init_residual", "replace_stride_with_dilation", "drop_path",
    "auxiliary", "dropout", "drop_rate", "gate_bias",
}  # fmt: skip
"""Fields of a row that leave open whose weights the network takes."""

log = logging.getLogger("resnets")


def fit_weights(
    tensors: dict[str, Tensor], network: Network, *, replace_head: bool
) -> dict[str, Tensor]:
    """The network's whole state dict, filled from tensors by our names or by foreign ones.

    A convolution of the whole map stands for a linear layer and the other way round, and a first
    convolution that reads colours is summed over them for a network that reads grey. Counters of
    batches may be missing. A network without a head takes none, nor an auxiliary one.

    Args:
        replace_head: take the heads as the network has them, whatever the tensors say of them.

    Raises ``ModelFileError`` with a table of what is expected and found where anything is missing,
    left over or of another shape, and for weights that are not finite or a negative variance.
    """
    found, _ = translate(tensors)
    expected = network.state_dict()
    first, heads = _first_convolution(network), (network.head + ".", *AUXILIARY)
    fitted: dict[str, Tensor] = {}
    wrong: list[tuple[str, str, str]] = []
    for name, own in expected.items():
        theirs = found.pop(name, None)
        if replace_head and name.startswith(heads):
            fitted[name] = own.clone()
        elif theirs is None and name.endswith("num_batches_tracked"):
            fitted[name] = torch.zeros(own.shape, dtype=own.dtype)
        elif theirs is None:
            wrong.append((name, _told(own), "nothing"))
        elif (shaped := _shaped(theirs, own, sum_colours=name == first)) is None:
            wrong.append((name, _told(own), _told(theirs)))
        else:
            fitted[name] = shaped.to(own.dtype)
    lacking = tuple(head for head in heads if not any(name.startswith(head) for name in expected))
    spare = heads if replace_head else lacking
    for name, theirs in found.items():
        if not name.endswith(PASSED_OVER) and not (spare and name.startswith(spare)):
            wrong.append((name, "nothing", _told(theirs)))
    if wrong:
        raise _misfit(wrong, len(expected), heads)
    _check_numbers(fitted)
    return fitted


def load_weights(network: Network, weights: Weights) -> None:
    """Fill a network with weights; the head stays as it was drawn where its size is another.

    Says so as a warning of the logger ``resnets``, as also where colours are summed. Raises
    ``ModelFileError`` as ``fit_weights``, which leaves the network as it was.
    """
    classes, channels = held_sizes(weights.tensors, network)
    own_classes, own_channels = held_sizes(network.state_dict(), network)
    new_head = own_classes is not None and classes != own_classes
    network.load_state_dict(fit_weights(weights.tensors, network, replace_head=new_head))
    if new_head:
        before = f"{classes:,} classes" if classes else "no head"
        log.warning(
            "%s has %s: the head with %d is new and untrained", weights.origin, before, own_classes
        )
    if channels != own_channels:
        log.warning(
            "%s reads %s channels: its first convolution is summed over them for grey images",
            weights.origin,
            channels,
        )


def held_sizes(tensors: dict[str, Tensor], network: Network) -> tuple[int | None, int | None]:
    """Classes and input channels of weights for a network of this kind, where they hold them."""
    heads = [name for name in tensors if name.startswith(network.head + ".")]
    first = tensors.get(_first_convolution(network))
    return (
        len(tensors[heads[-1]]) if heads and tensors[heads[-1]].ndim else None,
        first.shape[1] if first is not None and first.ndim == 4 else None,
    )


def check_same_network(weights: Weights, spec: Spec) -> None:
    """Raise ``ConfigError`` where weights say they are another network's than a row's.

    Shapes alone would not tell: v1 and v1.5 have the same.
    """
    if weights.model is None or _essence(spec_of(weights.model)) == _essence(spec):
        return
    raise ConfigError(
        f"{weights.origin} holds the weights of {weights.model}, which is another network",
        fix=f"ask for {weights.model}, which they were made for",
    )


def _essence(spec: Spec) -> dict[str, Any]:
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    if callable(values.get("norm_layer")):  # such as torchvision's frozen batch norm
        values["norm_layer"] = "batch"
    kept = {name: value for name, value in values.items() if name not in SAME_WEIGHTS}
    return {"kind": type(spec)} | kept


def _first_convolution(network: Network) -> str:
    modules = network.named_modules()
    return next((f"{name}.weight" for name, part in modules if isinstance(part, nn.Conv2d)), "")


def _shaped(theirs: Tensor, own: Tensor, *, sum_colours: bool) -> Tensor | None:
    """The same numbers in the shape of our own, or nothing where it cannot be."""
    if theirs.shape == own.shape:
        return theirs
    if {theirs.ndim, own.ndim} == {2, 4} and theirs.shape[0] == own.shape[0]:
        whole_map = theirs.numel() == own.numel()
        return theirs.reshape(own.shape) if whole_map else None
    grey = sum_colours and own.ndim == theirs.ndim and own.shape[1] == 1
    if grey and theirs.shape[1] == 3 and theirs.shape[2:] == own.shape[2:]:
        return theirs.sum(1, keepdim=True) if len(theirs) == len(own) else None
    return None


def _check_numbers(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            trouble = "holds numbers that are not finite"
        elif name.endswith("running_var") and tensor.min() < 0:
            trouble = "holds a negative variance"
        else:
            continue
        raise ModelFileError(
            f"{name} {trouble}: the training that made it failed, or the file is damaged",
            fix="use another file; one saved before the loss stopped being a number, for instance",
        )


def _told(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _misfit(
    wrong: list[tuple[str, str, str]], count: int, heads: tuple[str, ...]
) -> ModelFileError:
    rows = [("tensor", "expected", "found"), *wrong[:SHOWN]]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    table = [f"  {name:<{widths[0]}}  {own:<{widths[1]}}  {found}" for name, own, found in rows]
    if len(wrong) > SHOWN:
        table.append(f"  and {len(wrong) - SHOWN:,} more")
    fix = "name the network they were made for; `resnets models` lists all"
    if all(name.startswith(heads) for name, _, _ in wrong):
        fix = "ask for as many classes as the weights have, or for a new head"
    lines = "\n".join(table)
    return ModelFileError(
        f"the weights do not fit the network, of whose state dict {count:,} tensors are\n{lines}",
        fix=fix,
    )
