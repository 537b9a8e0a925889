"""Colours for values, and the laying of one picture over another; numpy alone."""

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3), RGB."""
WHITE_POINT = 99.0
"""The percentile of a map that gets the ramp's last colour: one bright pixel hides no others."""


def ramp(values: NDArray[np.floating]) -> Picture:
    """Colours (..., 3) of values from 0 to 1: from dark violet over red to yellow.

    Made in OKLab (B. Ottosson, "A perceptual color space for image processing", 2020), so that
    equal steps of value are equal steps of lightness, in grey print and to colour-blind eyes too.
    """
    share = np.clip(np.asarray(values, dtype=np.float64), 0, 1)
    lightness = 0.18 + 0.75 * share
    chroma = 0.18 - 0.12 * (1 - share) ** 3  # as much as a screen can show, less where it is dark
    hue = np.deg2rad(300 + 160 * share)  # violet, red, orange, yellow
    return _from_oklab(lightness, chroma * np.cos(hue), chroma * np.sin(hue))


def diverging(values: NDArray[np.floating]) -> Picture:
    """Colours (..., 3) of values from -1 to 1: blue below zero, white at it, red above."""
    share = np.clip(np.asarray(values, dtype=np.float64), -1, 1)
    strength = np.abs(share)
    hue = np.deg2rad(np.where(share < 0, 255, 30))
    chroma = 0.17 * strength
    return _from_oklab(0.97 - 0.45 * strength, chroma * np.cos(hue), chroma * np.sin(hue))


def scaled(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """A map's values above zero, as shares of nearly its largest; zero where there is none."""
    above = np.maximum(np.asarray(values, dtype=np.float64), 0)
    white = np.percentile(above, WHITE_POINT) or above.max()
    return np.minimum(above / white, 1) if white > 0 else above


def overlay(image: Picture, values: NDArray[np.floating]) -> Picture:
    """A map (H, W) over its image: what it does not point at is grey and dark."""
    share = scaled(values)[..., None]
    grey = image @ np.array([0.299, 0.587, 0.114])
    below = np.repeat(0.75 * grey[..., None], 3, axis=2)
    opacity = 0.2 + 0.5 * share
    return np.round((1 - opacity) * below + opacity * ramp(share[..., 0])).astype(np.uint8)


def veil(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A map (H, W) as RGBA to lay over its image: clear where nothing speaks for the class."""
    share = scaled(values)
    alpha = np.round(255 * 0.8 * share).astype(np.uint8)
    return np.dstack([ramp(share), alpha])


def _from_oklab(
    lightness: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]
) -> Picture:
    """OKLab -> sRGB; what a screen cannot show is cut off."""
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    linear = cones**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)
