"""Maps of evidence: how much each place of an image speaks for a class.

Every method explains the class's logit, of a network in evaluation mode, in float32 or better.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.errors import ConfigError, UnknownName, require
from resnets.models import Network

Method = Literal["grad-cam", "integrated-gradients", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

PATH_STEPS = 50
"""Points on the way from the empty image to the image at which gradients are taken."""
WINDOWS = 7
"""An occluding square is a seventh of the shorter side, and moves by half of its own."""
CHUNK = 16
"""Images that pass through the network at once."""


def grad_cam(network: Network, images: Tensor, classes: Tensor, *, at: str) -> Tensor:
    """Where the evidence for ``classes`` lies (Grad-CAM, arXiv:1610.02391, Eq. 1-2).

    Args:
        images: (N, C, H, W), preprocessed.
        classes: (N,) class indices, one per image.
        at: the named point to look at, such as ``"layer4"``.

    Returns:
        (N, h, w) maps, zero or more, at the resolution of ``at``.

    Raises ``UnknownName`` for a point there is not, ``ConfigError`` for one that is no map.
    """
    with torch.no_grad():
        activation = network.features(images, at=[at])[at]
    if activation.dim() != 4:
        raise ConfigError(f"{at} is no map", fix=f"choose one of {', '.join(network.points[:-1])}")
    activation = activation.detach().requires_grad_()
    with torch.enable_grad():
        x = activation.clone()  # the next layer may work in place
        for point in network.points[network.points.index(at) + 1 :]:
            x = getattr(network, point)(x)
        (gradient,) = torch.autograd.grad(_chosen(x, classes).sum(), activation)
    weight = gradient.mean(dim=(2, 3), keepdim=True)  # Eq. 1: one for each channel
    return F.relu((weight * activation.detach()).sum(dim=1))  # Eq. 2


def integrated_gradients(
    network: Network, images: Tensor, classes: Tensor, *, steps: int = PATH_STEPS
) -> Tensor:
    """What each pixel adds to the logit on the way from the empty image (arXiv:1703.01365, Eq. 3).

    The empty image is zero after preprocessing, the mean colour of the training images. The values
    of an image sum to the difference of the two logits, but for the error of ``steps`` points.

    Args:
        images: (N, C, H, W), preprocessed.
        classes: (N,) class indices, one per image.

    Returns:
        (N, H, W), summed over the channels; less than zero where a pixel speaks against the class.

    Raises ``MissingExtra`` without captum.
    """
    attr = require("captum.attr", extra="explain")
    integral = attr.IntegratedGradients(network)
    maps = integral.attribute(
        images, target=classes, n_steps=steps, internal_batch_size=max(CHUNK, len(images))
    )
    return maps.sum(dim=1).detach().to(images.dtype)


def occlusion(network: Network, images: Tensor, classes: Tensor) -> Tensor:
    """How far the logit falls while a square hides a place (arXiv:1311.2901, Section 4.2).

    The square has the mean colour of the training images; a pixel's value is the mean over the
    squares that hid it.

    Args:
        images: (N, C, H, W), preprocessed.
        classes: (N,) class indices, one per image.

    Returns:
        (N, H, W); less than zero where hiding raises the logit.

    Raises ``MissingExtra`` without captum.
    """
    attr = require("captum.attr", extra="explain")
    channels, height, width = images.shape[1:]
    window = max(1, math.ceil(min(height, width) / WINDOWS))
    step = max(1, window // 2)
    maps = attr.Occlusion(network).attribute(
        images,
        sliding_window_shapes=(channels, window, window),
        strides=(channels, step, step),
        target=classes,
        baselines=0,
        perturbations_per_eval=max(1, CHUNK // len(images)),
    )
    return maps[:, 0].detach().to(images.dtype)  # all channels are hidden together


def map_of(method: Method, network: Network, at: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A method as a function of images (N, C, H, W) and classes (N,) -> maps (N, h, w).

    Args:
        at: the point that Grad-CAM looks at; the others look at the image.
    """

    def explained(images: Tensor, classes: Tensor) -> Tensor:
        with exact():
            if method == "grad-cam":
                return grad_cam(network, images, classes, at=at)
            if method == "occlusion":
                return occlusion(network, images, classes)
            return integrated_gradients(network, images, classes)

    return explained


@contextmanager
def exact() -> Iterator[None]:
    """cuDNN rounds the inputs of float32 convolutions to TF32 unless told not to."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def check_method(method: str) -> Method:
    """The method of that name. Raises ``UnknownName``."""
    if method not in METHODS:
        raise UnknownName("method", method, METHODS, listing=f"use {', '.join(METHODS)}")
    return method


def find_point(network: Network, image: Tensor, at: str | None) -> str:
    """A point that is a map: ``at``, or else the last one of more than 1x1.

    Args:
        image: (1, C, H, W), any that the network is asked about.

    Raises ``UnknownName`` for a point there is not, ``ConfigError`` for one that is no map.
    """
    shapes = point_shapes(network, image)
    if at is not None and at not in shapes:
        raise UnknownName("point", at, shapes, listing=f"use {', '.join(shapes)}")
    maps = [point for point, shape in shapes.items() if len(shape) == 3]
    large = [point for point in maps if max(shapes[point][1:]) > 1] or maps
    if not maps or (at is not None and at not in maps):
        raise ConfigError(
            f"{at or 'this network'} has no map: nothing in it has a place",
            fix=f"choose one of {', '.join(maps)}" if maps else "explain it by occlusion",
        )
    return at or large[-1]


@torch.no_grad()
def point_shapes(network: Network, image: Tensor) -> dict[str, tuple[int, ...]]:
    """The shape of every point for an image (1, C, H, W), without the batch."""
    return {name: tuple(x.shape[1:]) for name, x in network.features(image).items()}


def _chosen(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]
