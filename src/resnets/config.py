"""What a run and an answer depend on, as frozen values: ``TrainConfig`` and ``Preprocess``."""

import dataclasses
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from resnets.errors import ConfigError, did_you_mean

Interpolation = Literal["bilinear", "bicubic"]
CropMode = Literal["center", "squash"]
Schedule = Literal["cosine", "linear", "steps", "constant"]
Crop = Literal["none", "pad2", "pad4", "resized"]
AutoAugment = Literal["none", "rand", "trivial"]
Optimizer = Literal["sgd", "muon"]
Balance = Literal["none", "weights", "order"]
Precision = Literal["auto", "fp32", "bf16"]
OnNotFinite = Literal["stop", "skip"]
Initialisation = Literal["he", "xavier"]
AUTO = "auto"
"""As a batch size: the recipe's, in parts that fit into the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """All that happens between an upright RGB image and the network's input.

    One value for training, evaluation, prediction and export; the sealed model carries it.
    The arithmetic is in ``resnets.data.transforms``. Key names are timm's where timm has them.
    """

    input_size: tuple[int, int, int]
    """Channels, height, width. One channel means grey: 0.299 R + 0.587 G + 0.114 B."""
    interpolation: Interpolation = "bilinear"
    """Kernel of the antialiased resize: half-pixel centres, weights renormalised at the border."""
    crop_pct: float = 1.0
    """The crop's share of the resized image's shorter side, in (0, 1]."""
    crop_mode: CropMode = "center"
    """center: keep the shape, cut the middle out. squash: stretch the whole image to the input."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Subtracted after scaling to [0, 1]; one value per channel."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Divided by, after the mean; one value per channel."""
    mean_image: bool = False
    """Subtract the sealed model's tensor ``preprocess.mean_image`` (C, H, W) as well, after std."""
    background: tuple[int, int, int] = (255, 255, 255)
    """The RGB colour under transparent pixels."""

    def __post_init__(self) -> None:
        for name in ("input_size", "mean", "std", "background"):
            if isinstance(value := getattr(self, name), list):  # JSON and TOML give lists
                object.__setattr__(self, name, tuple(value))
        check_choices(self)
        channels, height, width = self.input_size
        if channels not in (1, 3) or height < 1 or width < 1:
            raise ConfigError(
                f"input_size={self.input_size} is no (channels, height, width)",
                fix="use 1 (grey) or 3 (RGB) channels and a height and width of at least 1",
            )
        if not 0 < self.crop_pct <= 1:
            raise ConfigError(f"crop_pct={self.crop_pct}", fix="choose a share in (0, 1]")
        if len(self.mean) != channels or len(self.std) != channels or min(self.std) <= 0:
            raise ConfigError(
                f"mean={self.mean} and std={self.std} do not fit {channels} channel(s)",
                fix="give one mean and one positive std per channel",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``model.json`` holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``; an unknown key is an error."""
        check_keys(cls, values, where="preprocess")
        return cls(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Every setting of one training run; ``config.toml`` in the run folder is this, resolved.

    A value of ``None`` or ``"auto"`` is filled in from the data and the machine when a run
    starts. Named sets of values are in ``resnets.training.recipes``.
    """

    recipe: str = "auto"
    """The named recipe the values come from; auto: ``default`` for small or large images."""
    data: str = ""
    """A folder, a CSV file or a data set's name."""
    model: str = "auto"
    """A network's name, perhaps with options, as in ``resnet50:shortcut=C``."""
    start_from: str = ""
    """First weights: a run or sealed model, a weight file, a network's name, or what
    ``resnets.models.weights`` reads. Empty: drawn from the seed."""
    freeze: str = ""
    """The point of the network up to which weights stay as they are; all: everything but the
    head. Empty: all weights are trained."""
    cache_features: bool = True
    """freeze="all": whether what reaches the head is computed once for each image."""
    epochs: int | None = None
    """Passes over the training data; ``None`` with a budget, else the recipe's."""
    budget: float | None = None
    """Seconds from the command's start to its exit; epochs then follow from the speed."""
    steps: int | None = None
    """Optimizer steps in all, instead of epochs (the papers count so)."""
    batch_size: int = 128
    micro_batch: int | None = None
    """The most images that pass through the network at once: a larger batch goes in equal parts,
    and batch norm then averages over a part. ``None``: the whole batch."""
    checkpoint_activations: bool = False
    """Whether blocks compute their activations again in the backward pass instead of keeping them
    (arXiv:1604.06174): less memory, about a third more time, the same bits."""
    compile: bool = False
    """Whether torch.compile makes one program of the network: on a CPU rarely faster."""
    learning_rate: float = 0.1
    """The highest rate of the schedule."""
    optimizer: Optimizer = "sgd"
    """muon: convolutions without a bias, which a norm follows, take orthogonal steps."""
    orthogonal_rate: float = 0.24
    """optimizer="muon": the highest rate of the orthogonal steps, as ``learning_rate`` is of the
    others: the share of the weights that one changes."""
    schedule: Schedule = "cosine"
    lr_drops: tuple[float, ...] = ()
    """schedule="steps": the shares of the run at which the rate is divided by ten."""
    warmup: float = 0.0
    """The share of the run over which the rate rises linearly from a tenth."""
    warmup_steps: int = 0
    """So many first steps at a tenth of the rate (arXiv:1512.03385, Section 4.2)."""
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_norm_and_bias: bool = True
    """Whether weight decay also acts on batch-norm parameters and biases."""
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    """Decay of the weight average that is validated and sealed; 0 turns it off."""
    initialisation: Initialisation = "he"
    whiten: bool = False
    """Whether the first convolution whitens the training images' patches and is not trained."""
    image_size: int | None = None
    """Height and width of the network's input; ``None``: from the data."""
    start_size: int | None = None
    """Height and width to which batches are shrunk in the first part of training; ``None``: none
    (arXiv:2104.00298, Section 4)."""
    full_size_from: float = 0.5
    """start_size: the share of the run from which batches have their full size."""
    mean: tuple[float, ...] | None = None
    """Per channel, in [0, 1]; ``None``: measured on the training images."""
    std: tuple[float, ...] | None = None
    mean_image: bool = False
    """Subtract the per-pixel mean of the training images, or that of ``start_from``."""
    interpolation: Interpolation = "bilinear"
    crop_pct: float = 1.0
    crop_mode: CropMode = "center"
    """This and the two before are those of ``Preprocess``; ``start_from`` brings its own."""
    crop: Crop = "none"
    """pad4: pad by an eighth of the side (4 of 32), random crop. pad2: by half of that, with what
    lies at the border mirrored. resized: random area and shape."""
    crop_scale: float = 0.35
    """crop="resized": the smallest share of the image's area."""
    flip: bool = False
    alternate_flips: bool = False
    """flip: whether each image is mirrored in every other epoch, in place of by chance
    (arXiv:2404.00498)."""
    auto_augment: AutoAugment = "none"
    """rand: RandAugment (arXiv:1909.13719). trivial: TrivialAugment (arXiv:2103.10158)."""
    mixup: float = 0.0
    """Alpha of mixup's Beta distribution (arXiv:1710.09412); 0 turns it off."""
    cutmix: float = 0.0
    """Alpha of CutMix's Beta distribution (arXiv:1905.04899); 0 turns it off."""
    erasing: float = 0.0
    """Probability of random erasing (arXiv:1708.04896)."""
    balance: Balance = "none"
    """weights: classes weigh the same in the loss. order: they are drawn equally often."""
    validation: float | None = None
    """Share of the training images held out; 0: none; ``None``: the data's own, else a tenth."""
    patience: int | None = None
    """Stop after so many validations without a better one; ``None``: never."""
    on_nonfinite: OnNotFinite = "stop"
    """What a step does whose loss or gradient is not finite: end the run, or be passed over."""
    precision: Precision = "auto"
    """Of training: auto takes bf16 where the processor has it. Scores are fp32."""
    channels_last: bool | None = None
    device: str = "auto"
    threads: int | None = None
    """CPU threads; ``None``: one per core this process may use."""
    workers: int | None = None
    """Processes that decode photos; ``None``: from the cores. Changes no result."""
    cache: bool = False
    """Whether photos are decoded once and kept on disk, no larger than random crops need them."""
    save_every: float = 30.0
    """Seconds between training states, or more where one takes long to save. Changes no result."""
    tensorboard: bool = False
    """Whether the rows of ``metrics.csv`` are also written for TensorBoard. Changes no result."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr_drops", "mean", "std"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        check_choices(self)
        positive = ("epochs", "budget", "steps", "batch_size", "learning_rate", "image_size")
        also = ("orthogonal_rate", "start_size")
        for name in (
            *positive,
            *also,
            "micro_batch",
            "threads",
            "patience",
            "crop_scale",
            "save_every",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name}={value} must be above zero", fix=f"raise {name}")
        for name in (
            "momentum",
            "validation",
            "label_smoothing",
            "ema_decay",
            "warmup",
            "full_size_from",
        ):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise ConfigError(
                    f"{name}={getattr(self, name)} lies outside [0, 1)",
                    fix=f"choose {name} from 0 to 1",
                )
        for name in ("weight_decay", "mixup", "cutmix", "workers", "warmup_steps", "seed"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} is negative", fix=f"raise {name}")
        if not 0 <= self.erasing <= 1 or self.crop_scale > 1:
            raise ConfigError(
                f"erasing={self.erasing}, crop_scale={self.crop_scale}",
                fix="choose both from 0 to 1",
            )
        lengths = {"epochs": self.epochs, "budget": self.budget, "steps": self.steps}
        given = [f"{name}={value}" for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} both say how long", fix="give one of them")
        if self.compile and self.checkpoint_activations:
            raise ConfigError(
                "torch.compile does not know recomputed activations",
                fix="leave out compile or checkpoint_activations",
            )
        for name in ("batch_size", "micro_batch"):
            if getattr(self, name) == 1:
                raise ConfigError(
                    f"{name}=1 leaves batch norm nothing to average over", fix="use 2 or more"
                )
        if any(not 0 < drop < 1 for drop in self.lr_drops):
            raise ConfigError(
                f"lr_drops={self.lr_drops} are shares of the run",
                fix="choose values between 0 and 1",
            )

    def to_toml(self) -> str:
        """The settings as TOML text; ``None`` is left out, for TOML has no such value."""
        import tomli_w

        values = dataclasses.asdict(self)
        return tomli_w.dumps({key: value for key, value in values.items() if value is not None})

    @classmethod
    def keys_in(cls, path: Path) -> dict[str, Any]:
        """The settings a TOML file gives, checked by name but not yet filled up with defaults."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"no file {path}", fix="give the path of a config.toml") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
            raise ConfigError(f"{path} is not TOML: {cause}", fix="mend that line") from None
        check_keys(cls, values, where=str(path))
        return values


def check_keys(cls: type, values: dict[str, Any], *, where: str) -> None:
    """Raise ``ConfigError`` for a key that is no field of ``cls``, naming the nearest field."""
    known = [field.name for field in dataclasses.fields(cls)]
    for key in values:
        if key not in known:
            hint = did_you_mean(key, known) or f"use one of {', '.join(known)}"
            raise ConfigError(f"{where}: unknown setting {key!r}", fix=hint.strip())


def check_choices(config: Any) -> None:
    """Hold every field of a frozen config to its annotation: choices, numbers, switches."""
    for field in dataclasses.fields(config):
        check_field(field.name, getattr(config, field.name), field.type)


def check_field(name: str, value: Any, kind: Any) -> None:
    """Raise ``ConfigError`` unless a value fits a field's annotation."""
    choices = get_args(kind)
    if choices and all(isinstance(choice, str) for choice in choices):
        if value not in choices:
            raise ConfigError(
                f"{name}={value!r} is not one of {', '.join(choices)}",
                fix=f"{did_you_mean(str(value), choices)}set {name} to one of them",
            )
        return
    accepted = tuple(choices) if choices and type(None) in choices else (kind,)
    if not any(_fits(value, each) for each in accepted):
        raise ConfigError(
            f"{name}={value!r} has the wrong type", fix=f"{name} takes {_told(accepted)}"
        )


def _fits(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and abs(value) < float("inf")  # which not-a-number is not
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (str, bool, type(None)):
        return isinstance(value, kind)
    first, *others = get_args(kind)
    return (
        isinstance(value, tuple)
        and (others == [...] or len(value) == 1 + len(others))
        and all(_fits(item, first) for item in value)
    )


def _told(kinds: tuple[Any, ...]) -> str:
    words = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    return " or ".join(
        words.get(kind, "a list of numbers") for kind in kinds if kind is not type(None)
    )


def parse_value(text: str) -> Any:
    """A setting's value as TOML or, where it is no TOML, as text.

    >>> parse_value("[0.5, 0.75]"), parse_value("pad4")
    ([0.5, 0.75], 'pad4')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_duration(text: str) -> float:
    """Seconds in a text such as ``90``, ``90s``, ``10m``, ``1.5h`` or ``1h30m``.

    >>> parse_duration("1h30m")
    5400.0
    """
    parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        hours, minutes, seconds = (
            (float(part or 0) for part in parts.groups()) if parts else (0, 0, 0)
        )
    except ValueError:
        hours = minutes = seconds = 0
    if not (total := hours * 3600 + minutes * 60 + seconds) > 0:
        raise ConfigError(f"{text!r} is no duration", fix="write it as 90s, 10m, 1.5h or 1h30m")
    return total
