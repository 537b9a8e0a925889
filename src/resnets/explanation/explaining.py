"""One image explained: the map of a class beside that of the likeliest other, with their scores."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from resnets.config import Preprocess
from resnets.data.listing import class_name
from resnets.data.transforms import normalise, to_pixels
from resnets.errors import ConfigError, UnknownName, require
from resnets.explanation.colours import Picture
from resnets.explanation.faithfulness import STEPS, Faithfulness, faithfulness
from resnets.explanation.maps import Method, check_method, exact, find_point, map_of
from resnets.explanation.sanity import LIMIT, correlation_with_random
from resnets.models import Network


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Evidence:
    """What speaks for one class in one image."""

    label: str
    probability: float
    map: NDArray[np.float32]
    """(h, w), as the method gives it: coarser than the image, and below zero where a place speaks
    against the class."""
    scores: Faithfulness
    correlation: float | None = None
    """Of the ranks, with the maps of random weights; ``None`` where that was not checked."""

    @property
    def passed(self) -> bool:
        """Whether random weights change the map, or nobody asked."""
        return self.correlation is None or self.correlation < LIMIT

    def to_dict(self) -> dict[str, Any]:
        """Label, probability, deletion, insertion, and the correlation where there is one."""
        told: dict[str, Any] = {
            "label": self.label,
            "probability": self.probability,
            "deletion": self.scores.deletion,
            "insertion": self.scores.insertion,
        }
        if self.correlation is not None:
            told |= {"correlation": self.correlation, "passed": self.passed}
        return told


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Explanation:
    """An image, as the network saw it, and the evidence for its class and for the next one."""

    method: Method
    at: str | None
    """The point that Grad-CAM looked at."""
    image: Picture
    """(H, W, 3), the network's input before it was normalised."""
    evidence: tuple[Evidence, ...]
    """Of the class that was asked for, then of the likeliest other; of one where there is one."""

    @property
    def passed(self) -> bool:
        """Whether random weights change every map, or nobody asked."""
        return all(each.passed for each in self.evidence)

    def enlarged(self, index: int = 0) -> NDArray[np.float32]:
        """A class's map at the size of the image, between its units bilinear."""
        return _enlarged(torch.from_numpy(self.evidence[index].map), self.image.shape[:2]).numpy()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; the maps are left out."""
        classes = [each.to_dict() for each in self.evidence]
        return {"method": self.method, "at": self.at, "classes": classes}


@dataclass(frozen=True, slots=True)
class Explainer:
    """A network and all that turns an image into a question to it."""

    network: Network
    classes: tuple[str, ...]
    preprocess: Preprocess
    mean_image: Tensor | None = None
    temperature: float = 1.0
    """What the logits are divided by, for the probabilities that are told."""

    def explain(
        self,
        image: Picture,
        *,
        method: str = "grad-cam",
        at: str | None = None,
        label: str | None = None,
        check: bool = False,
        steps: int = STEPS,
    ) -> Explanation:
        """The maps of a class and of the likeliest other one.

        Args:
            image: (H, W, 3) uint8 RGB, upright.
            at: the point for Grad-CAM; the last map of more than 1x1.
            label: the class; the top answer.
            check: compare with random weights too.
            steps: of the deletion and insertion scores.

        Raises ``UnknownName`` for a method, point or class there is not, ``ConfigError`` for a
        point that is no map, ``MissingExtra`` where captum is needed and missing.
        """
        self.check(method=method, at=at, label=label)
        chosen = check_method(method)
        asked = None if label is None else self.index_of(label)
        pixels, batch = self.batch(image)
        with torch.no_grad(), exact():
            logits = self.network(batch).cpu().double() / self.temperature
        probabilities = torch.softmax(logits, dim=1)[0]
        ranked = torch.argsort(probabilities, descending=True, stable=True).tolist()
        first = ranked[0] if asked is None else asked
        indices = [first, *(index for index in ranked if index != first)][:2]
        point = find_point(self.network, batch, at) if chosen == "grad-cam" else ""
        # One backward pass for both classes: the image twice in a batch.
        maps = map_of(chosen, self.network, point)(
            batch.repeat(len(indices), 1, 1, 1), torch.tensor(indices, device=batch.device)
        )
        evidence = []
        for index, values in zip(indices, maps, strict=True):
            large = _enlarged(values, batch.shape[-2:])
            found = Evidence(
                label=self.classes[index],
                probability=float(probabilities[index]),
                map=values.float().cpu().numpy(),
                scores=faithfulness(self.network, batch, large, index, steps=steps),
            )
            if check:
                correlation = correlation_with_random(
                    chosen, self.network, batch, index, values, at=point
                )
                found = dataclasses.replace(found, correlation=correlation)
            evidence.append(found)
        return Explanation(
            method=chosen,
            at=point if chosen == "grad-cam" else None,
            image=pixels,
            evidence=tuple(evidence),
        )

    def check(self, *, method: str, at: str | None, label: str | None) -> None:
        """Raise now what ``explain`` would raise of these for every image."""
        if check_method(method) != "grad-cam" and at is not None:
            raise ConfigError(
                f"{method} looks at the image and at no point such as {at}",
                fix="leave the point out, or choose grad-cam",
            )
        if label is not None:
            self.index_of(label)
        if at is not None:
            find_point(self.network, self.blank(), at)
        if method != "grad-cam":
            require("captum.attr", extra="explain")

    def index_of(self, label: str) -> int:
        """The index of a class. Raises ``UnknownName``."""
        names = [class_name(each) for each in self.classes]
        if class_name(label) not in names:
            raise UnknownName("class", label, self.classes, listing=_listed(self.classes))
        return names.index(class_name(label))

    def blank(self) -> Tensor:
        """(1, C, H, W) of the mean colour: for questions about the network alone."""
        device = next(self.network.parameters()).device
        return torch.zeros(1, *self.preprocess.input_size, device=device)

    def batch(self, image: Picture) -> tuple[Picture, Tensor]:
        """An image as the network sees it: (H, W, 3) uint8 to look at, (1, C, H, W) to read."""
        device = next(self.network.parameters()).device
        pixels = to_pixels(
            torch.from_numpy(np.require(image, requirements=["C", "W"]))[None], self.preprocess
        )
        seen = pixels[0].round().to(torch.uint8).permute(1, 2, 0).expand(-1, -1, 3)
        batch = normalise(pixels, self.preprocess, self.mean_image).to(device)
        return np.ascontiguousarray(seen.numpy()), batch


def _enlarged(values: Tensor, size: Sequence[int]) -> Tensor:
    """(h, w) -> (H, W), bilinear."""
    return F.interpolate(values[None, None], tuple(size), mode="bilinear")[0, 0]


def _listed(classes: Sequence[str], most: int = 12) -> str:
    more = f" and {len(classes) - most:,} more" if len(classes) > most else ""
    return f"it knows {', '.join(classes[:most])}{more}"
