"""``train()``: open the data, settle the settings, train, score once, seal."""

import dataclasses
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resnets.checkpoint import read_sealed
from resnets.config import TrainConfig, parse_duration
from resnets.console import Progress
from resnets.data import hold_out, open_dataset, read_images
from resnets.data.manifest import differences, manifest
from resnets.data.sources import Dataset
from resnets.errors import ConfigError, DataError
from resnets.evaluation import Scores
from resnets.models.specs import spec_of
from resnets.prediction import Classifier, load
from resnets.training.recipes import recipe
from resnets.training.runfolder import RunFolder
from resnets.training.session import Session
from resnets.training.setup import resolve


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    """The run folder."""

    @cached_property
    def classifier(self) -> Classifier:
        """The sealed model, ready to answer."""
        return load(self.path)

    @cached_property
    def scores(self) -> Scores | None:
        """The final scores; ``None`` where nothing was held out to score."""
        scores = read_sealed(self.path).card["scores"]
        return Scores.from_dict(scores) if scores else None


def train(
    data: str | Path | Dataset | None = None,
    *,
    out: str | Path | None = None,
    config: str | Path | None = None,
    data_dir: str | Path | None = None,
    fresh: bool = False,
    extend: bool = False,
    quiet: bool = False,
    started: float | None = None,
    **settings: Any,
) -> Run:
    """Train a classifier and seal it; the same call continues a run that was stopped.

    Args:
        data: a folder, a CSV file, a data set's name, or a ``Dataset`` (``resnets.data`` makes
            one of arrays or of a torch data set).
        out: the run folder; by default ``runs/`` and the data's name.
        config: a ``config.toml`` whose settings are taken first.
        data_dir: where named data sets lie or are downloaded to.
        fresh: start again in the same folder; the old one is kept as NAME.1.
        extend: go on to a larger ``epochs`` than the run was set up with.
        quiet: print nothing.
        started: ``time.monotonic()`` at which a ``budget`` began; now by default.
        settings: fields of ``TrainConfig``; ``budget`` may be text such as ``"10m"``.

    Raises:
        ConfigError, DataError: what was asked for cannot work.
        CannotGoOn: the run stopped; its state is kept where there is one.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    started = time.monotonic() if started is None else started
    asked = _asked(config, settings)
    if data is None and not asked.get("data"):
        raise ConfigError("no data given", fix="name a folder, a CSV file or a data set")
    source = asked["data"] if data is None else data
    with Progress(quiet=quiet) as progress:
        directory = Path(data_dir) if data_dir else None
        dataset = open_dataset(source, data_dir=directory)
        folder = RunFolder(Path(out) if out else Path("runs") / dataset.name)
        folder.check_usable()
        if folder.begun and fresh:
            progress.line(f"the old run is kept as {folder.set_aside()}")
        asked["data"] = dataset.source
        if folder.begun:
            stored, finished = _continue(folder, asked, extend)
            if finished:
                progress.line(f"{folder.path} is finished; --fresh trains again")
                return Run(folder.path)
        share = (stored if folder.begun else _share_of(asked)).validation
        dataset = _read(dataset, share, progress, (asked.get("budget") or 0) * 0.05 or 60)
        now = manifest(dataset, validation=share, data_dir=directory)
        if folder.begun:
            settled = stored
            if changed := differences(folder.read_manifest(), now):
                raise DataError(
                    f"the data of {folder.path} changed since it began: {changed}",
                    fix="put the data back, or train anew with --out or --fresh",
                )
            progress.line(f"continuing {folder.path}; settings as in its config.toml")
        else:
            settled, reasons = resolve(asked, dataset)
            for sentence in (*dataset.notes, *reasons):
                progress.line(sentence)
            folder.write_setup(settled, now)
        for item in dataset.left_out:
            progress.line(f"left out: {item.path}: {item.reason}")
        Session(folder, settled, dataset, progress, started).run()
        return Run(folder.path)


def _asked(config: str | Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were named, checked one by one before anything is opened."""
    asked = TrainConfig.keys_in(Path(config)) if config else {}
    named = {name: value for name, value in settings.items() if value is not None}
    if isinstance(named.get("budget"), str):
        named["budget"] = parse_duration(named["budget"])
    lengths = {"epochs", "budget", "steps"}
    if lengths & named.keys():
        asked = {name: value for name, value in asked.items() if name not in lengths}
    asked |= named
    if asked.get("recipe", "auto") not in ("auto", "default"):
        recipe(asked["recipe"])
    if asked.get("model", "auto") != "auto":
        spec_of(asked["model"])
    try:
        TrainConfig(**asked)
    except TypeError:
        from resnets.config import check_keys

        check_keys(TrainConfig, asked, where="train()")
        raise
    return asked


def _share_of(asked: dict[str, Any]) -> TrainConfig:
    """The settings as far as they are known before the data is read."""
    name = asked.get("recipe", "auto")
    base = TrainConfig() if name in ("auto", "default") else recipe(name)
    return dataclasses.replace(base, validation=asked.get("validation", base.validation))


def _continue(folder: RunFolder, asked: dict[str, Any], extend: bool) -> tuple[TrainConfig, bool]:
    """The settings of the run that lies there, and whether it is finished."""
    stored = folder.read_config()
    epochs = asked.get("epochs")
    if extend and stored.epochs and epochs and epochs > stored.epochs:
        stored = dataclasses.replace(stored, epochs=epochs)
        folder.write_config(stored)
    changed = folder.check_settings(asked)
    stored = dataclasses.replace(stored, **changed)
    if not folder.model.exists():
        return stored, False
    record = read_sealed(folder.model).card["training"]
    return stored, record["finished"] and record["epochs"] == stored.epochs


def _read(dataset: Dataset, validation: float, progress: Progress, seconds: float) -> Dataset:
    progress.begin("reading images", sum(len(split) for split in dataset.splits.values()))
    done = 0

    def tell(count: int, total: int) -> None:
        nonlocal done
        progress.advance(count - done)
        done = count

    dataset = read_images(dataset, seconds=seconds, progress=tell)
    progress.end()
    if "val" not in dataset.splits and validation:
        dataset = hold_out(dataset, validation)
    return dataset
