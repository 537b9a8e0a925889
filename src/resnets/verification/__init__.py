"""Every published claim about a network, checked on the network itself: PASS or FAIL.

>>> for verdict in verify("resnet20")[:2]:
...     print(verdict.status, verdict.claim, verdict.computed)
PASS layers 20
PASS parameters 269,722
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from resnets.errors import UnknownName
from resnets.models import Network, create_model, list_models
from resnets.verification.claims import Claim, by_name, shown
from resnets.verification.classic import CLASSIC
from resnets.verification.costs import COSTS
from resnets.verification.forms import FORMS
from resnets.verification.measuring import QUANTITIES, Measured
from resnets.verification.published import PUBLISHED
from resnets.verification.sizes import SIZES
from resnets.verification.structure import STRUCTURE

Status = Literal["PASS", "FAIL", "NOTE"]
__all__ = ["CLAIMS", "Verdict", "matching", "verify", "verify_network"]

CLAIMS: dict[str, list[Claim]] = by_name(*SIZES, *COSTS, *FORMS, *STRUCTURE, *CLASSIC, *PUBLISHED)
"""What is said of each network, by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One claim about one network, beside what was computed."""

    name: str
    claim: str
    """The quantity, and of which parts."""
    source: str
    expected: str
    computed: str | None
    """``None`` for a published result, which only training could give."""
    status: Status

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def verify(pattern: str = "*") -> list[Verdict]:
    """Build the networks that match a shell pattern, without weights, and check their claims.

    Raises ``UnknownName`` where none matches.
    """
    names = matching([pattern])
    return [verdict for name in names for verdict in verify_network(name, _without_weights(name))]


def matching(patterns: Iterable[str]) -> list[str]:
    """The names that match any of some shell patterns, in the table's order.

    Raises ``UnknownName`` for a pattern that matches none.
    """
    known = list_models()
    matched: set[str] = set()
    for pattern in patterns:
        names = list_models(pattern)
        if not names:
            listing = f"`resnets models` lists all {len(known)}"
            raise UnknownName("model", pattern, known, listing=listing)
        matched.update(names)
    return [name for name in known if name in matched]


def verify_network(name: str, network: Network) -> list[Verdict]:
    """Hold a network to what is said of the one called ``name``, whatever it is in truth.

    It runs on an image of its own size, evaluating; afterwards it is as before. Raises
    ``ConfigError`` where it cannot.
    """
    measured = Measured(network)
    return [_verdict(name, claim, measured) for claim in CLAIMS.get(name, [])]


def _verdict(name: str, claim: Claim, measured: Measured) -> Verdict:
    computed, status = _outcome(claim, measured)
    return Verdict(
        name=name,
        claim=claim.title(),
        source=claim.source,
        expected=claim.told(),
        computed=computed,
        status=status,
    )


def _outcome(claim: Claim, measured: Measured) -> tuple[str | None, Status]:
    """What was computed, and what follows from it."""
    if claim.about == "published":
        return None, "NOTE"
    try:
        value = QUANTITIES[claim.about](measured, *claim.at)
    except KeyError as missing:
        return f"no {missing.args[0]}", "FAIL"
    return shown(value), "PASS" if claim.holds(value) else "FAIL"


def _without_weights(name: str) -> Network:
    with torch.device("meta"):
        return create_model(name)
