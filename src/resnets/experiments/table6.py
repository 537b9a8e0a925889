"""Table 6 of arXiv:1512.03385: residual networks of 20 to 110 layers on CIFAR-10."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnets.experiments.tables import NetErrors, Published, errors_of

SOURCE = "arXiv:1512.03385, Table 6"
TABLE_6 = {
    20: Published(error=0.0875, source=SOURCE),
    32: Published(error=0.0751, source=SOURCE),
    44: Published(error=0.0717, source=SOURCE),
    56: Published(error=0.0697, source=SOURCE),
    110: Published(error=0.0643, mean=0.0661, std=0.0016, source=SOURCE),  # of five runs
}


def table6(
    data: str | Path = "cifar10",
    *,
    nets: Sequence[int] = tuple(TABLE_6),
    seeds: int = 5,
    out: str | Path = "runs/table6",
    **how: Any,
) -> list[NetErrors]:
    """Run the table again, a row for each network; the same call continues where it stopped.

    The weights that were best on the held-out tenth of the training images are scored on the test
    images, once. ``table6.csv`` is written to ``out``.

    Args:
        nets: layers: 20, 32, 44, 56, 110.
        seeds: runs of each network.
        how: ``recipe``, ``budget`` or ``epochs``, ``data_dir``, ``quiet``, ``started``, and further
            settings of ``resnets.train``; see ``errors_of``.

    Raises ``UnknownName`` for another depth, and what ``resnets.train`` raises.
    """
    names = {f"resnet{layers}": f"ResNet-{layers}" for layers in nets}
    published = {f"resnet{layers}": values for layers, values in TABLE_6.items()}
    return errors_of(names, published, file="table6.csv", data=data, seeds=seeds, out=out, **how)
