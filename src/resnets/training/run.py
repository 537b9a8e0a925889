"""``train()``: open the data, settle the settings, train, score once, seal."""

import dataclasses
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from resnets.checkpoint import read_sealed
from resnets.config import AUTO, TrainConfig, check_keys, parse_duration
from resnets.console import Progress
from resnets.data import from_arrays, from_torch, open_dataset, read_images
from resnets.data.doctor import check_allowed, examine
from resnets.data.ledger import Ledger
from resnets.data.manifest import (
    after_reading,
    before_reading,
    differences,
    leave_out,
    manifest,
)
from resnets.data.named import default_data_dir
from resnets.data.reading import MEMORY, TOO_MANY, reading_bar
from resnets.data.sources import Dataset
from resnets.errors import ConfigError, DataError, ModelFileError
from resnets.evaluation import Scores
from resnets.models.specs import spec_of
from resnets.prediction import Classifier, load
from resnets.sealing import make_folder
from resnets.training.recipes import recipe
from resnets.training.runfolder import RunFolder
from resnets.training.session import Session
from resnets.training.setup import LENGTHS, resolve
from resnets.training.transfer import Start, read_start

FITTING = ("micro_batch", AUTO)
"""The one setting that is asked for in a way no ``TrainConfig`` holds."""
Data = str | Path | Dataset | tuple[Any, Any] | Any
"""What ``train`` takes as data; the last is a torch data set."""


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
    data: Data | None = None,
    *,
    classes: Sequence[str] | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    data_dir: str | Path | None = None,
    allow: Collection[str] = (),
    fresh: bool = False,
    extend: bool = False,
    accept_data_change: bool = False,
    exact: bool = False,
    quiet: bool = False,
    started: float | None = None,
    **settings: Any,
) -> Run:
    """Train a classifier and seal it; the same call continues a run that was stopped.

    Args:
        data: a folder, a CSV file or a data set's name; a pair (images, labels) of arrays; a torch
            data set of (image, label); or a ``Dataset``, as ``resnets.data`` makes them of arrays
            and torch data sets with validation and test parts.
        classes: the class names that integer labels index, for arrays and torch data sets.
        out: the run folder; by default ``runs/`` and the data's name.
        config: a ``config.toml`` whose settings are taken first.
        data_dir: where named data sets lie or are downloaded to.
        allow: what to train in spite of: ``duplicates`` across splits, or many ``unreadable``
            files; ``data.json`` keeps it.
        fresh: start again in the same folder; the old one is kept as NAME.1.
        extend: go on to a larger ``epochs`` than the run was set up with.
        accept_data_change: go on with images that were added, removed or changed since the run
            began; what changed is recorded in its ``data.json``.
        exact: go on only where the result will have the same bits as without the stop.
        quiet: print nothing.
        started: ``time.monotonic()`` at which a ``budget`` began; now by default.
        settings: fields of ``TrainConfig``; ``budget`` may be text such as ``"10m"``, and
            ``batch_size`` may be ``"auto"``: the recipe's, in parts that fit into the memory.

    Raises:
        ConfigError, DataError: what was asked for cannot work.
        CannotGoOn: the run stopped; its state is kept where there is one.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    started = time.monotonic() if started is None else started
    asked = _asked(config, settings)
    check_allowed(allow)
    dataset = _opened(asked.get("data") if data is None else data, classes, data_dir)
    asked["data"] = dataset.source
    folder = RunFolder(Path(out) if out else Path("runs") / dataset.name)
    folder.check_usable()
    with Progress(quiet=quiet) as progress, ExitStack() as held:
        if folder.begun:
            held.enter_context(folder.held())
        if folder.begun and not fresh:
            stored = _stored(folder, asked, extend)
            if _finished(folder, stored):
                progress.line(f"{folder.path} is finished; --fresh trains again")
                return Run(folder.path)
            dataset, changed = _read_again(folder, dataset, progress, accept_data_change)
            session = _continued(folder, stored, dataset, progress, started, exact)
            if changed:  # recorded once nothing else stands in the way
                folder.write_manifest(changed)
        else:
            session = _set_up(folder, asked, dataset, data_dir, allow, progress, started, held)
        again = "the same command without --fresh" if fresh else "the same command"
        session.run(again=again)
        return Run(folder.path)


def _set_up(
    folder: RunFolder,
    asked: dict[str, Any],
    dataset: Dataset,
    data_dir: str | Path | None,
    allow: Collection[str],
    progress: Progress,
    started: float,
    held: ExitStack,
) -> Session:
    """Read the data, settle the settings, write both down; an old run is set aside."""
    start = _start(asked)
    share = _validation_share(asked)
    dataset = before_reading(dataset, share)
    if "val" in dataset.splits and asked.get("validation") is not None:
        progress.line("validation has no effect: the data brings its own val split")
    seconds = 0.05 * asked.get("budget", 0) or 60
    ledger = Ledger.of(dataset)
    too_many = 1.0 if "unreadable" in allow else TOO_MANY
    dataset = _read(dataset, progress, ledger, seconds=seconds, too_many=too_many)
    dataset = after_reading(dataset, share)
    found = examine(dataset, ledger, seconds=seconds)
    ledger.save()
    found.refuse(allow)
    notes = (*dataset.notes, *found.sentences())
    dataset = dataclasses.replace(dataset, notes=notes)
    config, reasons = resolve(asked, dataset, start)
    for sentence in (*notes, *reasons):
        progress.line(sentence)
    tell_left_out(dataset, progress)
    session = Session(folder, config, dataset, progress, started, start)
    session.prepare(continued=False)  # what cannot work is found before a file is written or moved
    if folder.begun:
        progress.line(f"the old run is kept as {folder.set_aside()}")
    make_folder(folder.path)
    held.enter_context(folder.held())
    if folder.begun:  # while the data was read
        raise ConfigError(
            f"another run has begun in {folder.path}", fix="choose another folder with --out"
        )
    directory = Path(data_dir or default_data_dir()).expanduser().absolute()
    written = manifest(dataset, validation=share, data_dir=directory, asked=asked)
    written |= {"allowed": sorted(allow), "findings": found.summary()}
    folder.write_setup(config, written)
    return session


def _continued(
    folder: RunFolder,
    stored: TrainConfig,
    dataset: Dataset,
    progress: Progress,
    started: float,
    exact: bool,
) -> Session:
    """Take over the saved state."""
    progress.line(f"continuing {folder.path}; settings as in its config.toml")
    tell_left_out(dataset, progress)
    start = None if folder.has_state else _start(dataclasses.asdict(stored))
    session = Session(folder, stored, dataset, progress, started, start)
    session.prepare(continued=True, exact=exact)
    if stored != folder.read_config():
        folder.write_config(stored)
    return session


def _start(asked: dict[str, Any]) -> Start | None:
    """The weights to begin with, where there are any."""
    source = asked.get("start_from")
    return read_start(source, asked.get("model", "auto")) if source else None


def tell_left_out(dataset: Dataset, progress: Progress, most: int = 10) -> None:
    """Count and name the unreadable files; all of them are in ``data.json``."""
    if dataset.left_out:
        progress.line(f"{len(dataset.left_out):,} unreadable files are left out")
    for item in dataset.left_out[:most]:
        progress.line(f"left out: {item.path}: {item.reason}")
    if len(dataset.left_out) > most:
        progress.line("and more, listed in the run's data.json")


def _opened(data: Any, classes: Sequence[str] | None, data_dir: str | Path | None) -> Dataset:
    if data is None:
        raise ConfigError("no data given", fix="name a folder, a CSV file or a data set")
    if isinstance(data, (str, Path, Dataset)):
        return open_dataset(data, data_dir=Path(data_dir) if data_dir else None)
    if isinstance(data, tuple):
        return from_arrays(data, classes=classes)
    if classes is None:
        raise ConfigError("a torch data set has no class names", fix="pass classes=[...]")
    return from_torch(data, classes=classes)


def _asked(config: str | Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were named, checked one by one before anything is opened."""
    asked = TrainConfig.keys_in(Path(config)) if config else {}
    named = {name: value for name, value in settings.items() if value is not None}
    if isinstance(named.get("budget"), str):
        named["budget"] = parse_duration(named["budget"])
    if named.get("batch_size") == AUTO:
        named |= {"micro_batch": AUTO}
        del named["batch_size"]
    if any(name in named for name in LENGTHS):
        asked = {name: value for name, value in asked.items() if name not in LENGTHS}
    asked |= named
    if asked.get("recipe", "auto") not in ("auto", "default"):
        recipe(asked["recipe"])
    check_keys(TrainConfig, asked, where="train")
    TrainConfig(**{name: value for name, value in asked.items() if (name, value) != FITTING})
    if asked.get("model", "auto") != "auto":
        spec_of(asked["model"])
    return asked


def _validation_share(asked: dict[str, Any]) -> float | None:
    """What is held out of the training images, before the recipe is known that depends on them."""
    name = asked.get("recipe", "auto")
    base = TrainConfig() if name in ("auto", "default") else recipe(name)
    return asked.get("validation", base.validation)


def _stored(folder: RunFolder, asked: dict[str, Any], extend: bool) -> TrainConfig:
    """The settings of the run that lies there, with what of them may change."""
    stored = folder.read_config()
    epochs = asked.get("epochs")
    if extend and stored.epochs and epochs and epochs > stored.epochs:
        stored = dataclasses.replace(stored, epochs=epochs)
    return dataclasses.replace(stored, **folder.check_settings(asked, stored))


def _finished(folder: RunFolder, stored: TrainConfig) -> bool:
    if not folder.model.exists():
        return False
    try:
        record = read_sealed(folder.model).card["training"]
    except ModelFileError:
        return False  # the state may be whole; it will be sealed anew
    return record["finished"] and record["epochs"] == stored.epochs


def _read_again(
    folder: RunFolder, dataset: Dataset, progress: Progress, accept: bool
) -> tuple[Dataset, dict[str, Any] | None]:
    """The data of a run that goes on: the same files, by their hashes, or else as accepted.

    Returns the data and, where images changed, the manifest to write.
    Raises ``DataError`` where images changed and that is not accepted, or classes did.
    """
    recorded = folder.read_manifest()
    share = recorded["validation"]
    dataset = leave_out(before_reading(dataset, share), recorded)
    known = dataset.notes  # what the first reading found out need not be found out again
    memory = MEMORY if recorded["in_memory"] else 0
    ledger = Ledger.of(dataset)
    dataset = _read(dataset, progress, ledger, seconds=0, memory=memory, too_many=1.0)
    ledger.save()
    dataset = dataclasses.replace(after_reading(dataset, share), notes=known)
    now = manifest(dataset, validation=share, data_dir=None, asked={})
    changed = differences(recorded, now)
    if changed and not (accept and recorded["classes"] == now["classes"]):
        classes = recorded["classes"] != now["classes"]
        raise DataError(
            f"the data of {folder.path} changed since it began: {changed}",
            fix="put the data back, or train anew with --out or --fresh"
            + ("" if classes else "; --accept-data-change goes on with it as it is"),
        )
    if not changed:
        return dataset, None
    progress.line(f"going on with changed data: {changed}")
    kept = {name: recorded[name] for name in ("data_dir", "asked", "allowed", "findings")}
    return dataset, now | kept | {"changes": [*recorded.get("changes", ()), changed]}


def _read(
    dataset: Dataset,
    progress: Progress,
    ledger: Ledger,
    *,
    seconds: float,
    too_many: float,
    memory: int = MEMORY,
) -> Dataset:
    """Every image read once, unless it is known, and checked by decoding for ``seconds``."""
    with reading_bar(progress, dataset) as tell:
        return read_images(
            dataset,
            seconds=seconds,
            progress=tell,
            memory=memory,
            ledger=ledger,
            too_many=too_many,
        )
