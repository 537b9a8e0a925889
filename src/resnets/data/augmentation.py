"""What training does to images on top of ``Preprocess``: per image and per batch.

Everything is a function of a seed handed in: (seed, epoch, sample) for one image, (seed, step)
for a batch. torchvision's transforms are used where it has them.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.config import AutoAugment, Crop, Preprocess, TrainConfig
from resnets.data.sources import Images, part_of
from resnets.data.transforms import to_pixels
from resnets.decoding import Box

SHIFTS: dict[str, tuple[int, str]] = {"pad2": (16, "reflect"), "pad4": (8, "constant")}
"""Crops that shift: the part of a side by which at most, and what comes in behind."""
RATIO = (3 / 4, 4 / 3)  # shape of a random crop (Szegedy et al. 2015, arXiv:1409.4842, Section 6)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation settings of a run as callables."""

    crop: Crop = "none"
    crop_scale: float = 0.35
    flip: bool = False
    alternate_flips: bool = False
    auto_augment: AutoAugment = "none"
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "Augmentation":
        """The augmentation part of a run's settings."""
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})

    @property
    def none(self) -> bool:
        """Whether an image looks the same in every epoch."""
        without = Augmentation(crop_scale=self.crop_scale, alternate_flips=self.alternate_flips)
        return self == without

    @property
    def per_image(self) -> bool:
        """Whether images are changed one by one before they become a batch."""
        return self.auto_augment != "none"

    def colour(self, image: Tensor, seed: int) -> Tensor:
        """RandAugment or TrivialAugment on one (H, W, C) uint8 image."""
        if self.auto_augment == "none":
            return image
        from torchvision.transforms import v2

        policy = v2.RandAugment() if self.auto_augment == "rand" else v2.TrivialAugmentWide()
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds GPUs too, slowly
            return policy(image.permute(2, 0, 1)).permute(1, 2, 0)

    def part(self, images: Images, index: int, preprocess: Preprocess, seed: int) -> np.ndarray:
        """What is taken of an image, (h, w, C) uint8: with ``crop="resized"`` a random box of it.

        Raises ``UnreadableImage``.
        """
        if self.crop != "resized":
            return images[index]
        choose = partial(random_box, smallest=self.crop_scale, seed=seed)
        return part_of(images, index, choose, preprocess.input_size[1:])

    def finish(self, part: np.ndarray, preprocess: Preprocess, seed: int) -> Tensor:
        """What was taken of an image -> (C, h, w) pixels at the network's size, 0 to 255.

        ``crop="resized"`` is rounded to uint8 by its resize; otherwise this is ``Preprocess``
        itself. A flip is drawn for the batch.
        """
        image = torch.from_numpy(np.require(part, requirements="W"))
        if self.crop != "resized":
            return to_pixels(self.colour(image, seed)[None], preprocess)[0]
        # Torch's resize of uint8 has the kernel of Pillow's and takes a third of its time.
        planes = F.interpolate(
            image.permute(2, 0, 1)[None],
            preprocess.input_size[1:],
            mode="bilinear",
            antialias=True,
        )
        image = self.colour(planes[0].permute(1, 2, 0), seed)
        if image.shape[2] == preprocess.input_size[0]:
            return image.permute(2, 0, 1).contiguous()  # still uint8: a quarter of the traffic
        return to_pixels(image[None], preprocess)[0]

    def move_batch(
        self, images: Tensor, generator: torch.Generator, mirrored: Tensor | None = None
    ) -> Tensor:
        """Random shift (``pad4`` and ``pad2``), flip, erasing: (N, C, H, W) normalised images.

        Args:
            mirrored: (N,) which images to flip, where that is not left to chance.

        With ``pad4`` the border shifted in is zero, the mean after normalisation
        (arXiv:1512.03385, Section 4.2 pads the mean-subtracted image); with ``pad2`` it is the
        image mirrored, without the outermost pixels again.
        """
        count, _, height, width = images.shape
        if self.crop in SHIFTS:
            part, border = SHIFTS[self.crop]
            pad_y, pad_x = (min(max(1, side // part), side - 1) for side in (height, width))
            tops = torch.randint(0, 2 * pad_y + 1, (count,), generator=generator).tolist()
            lefts = torch.randint(0, 2 * pad_x + 1, (count,), generator=generator).tolist()
            padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y), mode=border)
            images = torch.stack(
                [
                    image[:, top : top + height, left : left + width]
                    for image, top, left in zip(padded, tops, lefts, strict=True)
                ]
            )
        if self.flip:
            chosen = torch.rand(count, generator=generator) < 0.5
            flipped = (chosen if mirrored is None else mirrored).nonzero()[:, 0]
            flipped = flipped.to(images.device)  # only these: flipping all takes far longer
            images = images.index_copy(0, flipped, images[flipped].flip(-1))
        if self.erasing:
            images = self._erase(images, generator)
        return images

    def _erase(self, images: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms import v2

        erase = v2.RandomErasing(p=self.erasing)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return torch.stack([erase(image) for image in images])

    def mix_batch(
        self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mixup or CutMix, one of them drawn where both are on.

        Returns the images and either the (N,) labels as they were or (N, classes) shares.
        """
        from torchvision.transforms import v2

        choices = [
            kind(alpha=alpha, num_classes=classes)
            for kind, alpha in ((v2.MixUp, self.mixup), (v2.CutMix, self.cutmix))
            if alpha
        ]
        if not choices:
            return images, labels
        pick = int(torch.randint(len(choices), (), generator=generator))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return choices[pick](images, labels)


def random_box(height: int, width: int, smallest: float, seed: int) -> Box:
    """A random part of an image: (left, top, right, bottom) in pixels.

    Its area is uniform in [smallest, 1] of the image's, its shape log-uniform in 3:4 to 4:3;
    a box that does not fit is made as large as fits (arXiv:1409.4842, Section 6).
    """
    draw = np.random.Generator(np.random.Philox(key=seed)).random
    area = height * width * (smallest + (1 - smallest) * draw())
    ratio = float(np.exp(np.log(RATIO[0]) + (np.log(RATIO[1]) - np.log(RATIO[0])) * draw()))
    box_width = min(float(np.sqrt(area * ratio)), width)
    box_height = min(float(np.sqrt(area / ratio)), height)
    left, top = draw() * (width - box_width), draw() * (height - box_height)
    return left, top, left + box_width, top + box_height
