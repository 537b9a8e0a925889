"""What ``model.json`` says that every answer depends on."""

from collections.abc import Mapping
from typing import Any

from resnets.config import Preprocess
from resnets.errors import ConfigError


def read_card(card: Mapping[str, Any]) -> tuple[tuple[str, ...], Preprocess]:
    """The class names and the preprocessing. Raises whatever a card that is none leads to."""
    classes = tuple(card["label_names"])
    if strange := [name for name in classes if not isinstance(name, str)]:
        raise TypeError(f"{strange[0]!r} is no name of a class")
    temperature, threshold = card.get("temperature", 1.0), card.get("threshold")
    if not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
        raise ConfigError(f"temperature={temperature!r}", fix="calibrate it again")
    if threshold is not None and not (isinstance(threshold, (int, float)) and 0 <= threshold <= 1):
        raise ConfigError(f"threshold={threshold!r}", fix="calibrate it again")
    return classes, Preprocess.from_dict(card["preprocess"])
