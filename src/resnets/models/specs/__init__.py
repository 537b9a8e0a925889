"""The architectures, one row each: papers' tables written down as data.

Rows hold facts only. ``resnets.models.create_model`` turns a row into modules, and the tests hold
the network that comes out to the sizes the papers print. A new member of a family is a new row.
"""

from collections.abc import Mapping
from typing import Any

from resnets.models.specs.base import Spec, parse_name, spec_from, spec_name
from resnets.models.specs.classic import CLASSIC
from resnets.models.specs.related import RELATED
from resnets.models.specs.residual import RESIDUAL

__all__ = ["SPECS", "Spec", "parse_name", "spec_name", "spec_of"]

SPECS: dict[str, Spec] = {**RESIDUAL, **CLASSIC, **RELATED}


def spec_of(name: str, options: Mapping[str, Any] | None = None) -> Spec:
    """The row of that name, changed by options.

    Options may also stand in the name: ``resnet50:shortcut=C:drop_path=0.1``. Raises
    ``UnknownName`` with the nearest name or option, ``ConfigError`` for a value that cannot be.
    """
    return spec_from(SPECS, name, options)
