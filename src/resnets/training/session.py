"""One run from its settings to its sealed model: what happens around the loop."""

import math
import time

import torch
from torch import Tensor

from resnets.checkpoint import State, newest_state, save_state, seal
from resnets.config import TrainConfig
from resnets.console import Progress
from resnets.data.listing import by_hash
from resnets.data.loader import Batches
from resnets.data.sources import Dataset, FileImages
from resnets.data.workers import WorkerBatches
from resnets.errors import CannotGoOn, ConfigError, DataError, Interrupted
from resnets.evaluation import Predictions
from resnets.machine import keep_memory
from resnets.prediction import MEAN_IMAGE
from resnets.report import write_report
from resnets.training.budget import Budget
from resnets.training.card import environment, model_card
from resnets.training.compiling import compile_network
from resnets.training.disk import Disk
from resnets.training.features import cached_features
from resnets.training.loop import NotFinite, train
from resnets.training.photos import DecodingWatch, cached
from resnets.training.preparing import batches_of, state_of, task_of, whiten_stem
from resnets.training.runfolder import RunFolder
from resnets.training.schedules import learning_rate, progress
from resnets.training.scoring import Scorer, build_network, closing_parts, concluded
from resnets.training.seeing import first_images
from resnets.training.skipping import skip_or_stop
from resnets.training.state import Best, Row, row_text
from resnets.training.stopping import StopRequested, StopWatch
from resnets.training.tensorboard import EventFiles
from resnets.training.transfer import ALL, Start, begin_with

FEWEST_VALIDATED = 200
VALIDATION_SHARE = 0.15
"""The most of a budget that five validations may take."""
CLOSING = 2.5
"""Seconds for sealing, for the report and for drawing the tables, beside the scoring itself."""


class Session:
    """Trains one run folder to its end, from wherever it stands."""

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        dataset: Dataset,
        display: Progress,
        started: float,
        start: Start | None = None,
    ) -> None:
        self.folder, self.config, self.dataset, self.display = folder, config, dataset, display
        self.started, self.start = started, start
        self.train_split = dataset.splits["train"]
        self.steps_per_epoch = len(self.train_split) / config.batch_size
        self.stop = StopWatch(self.save)
        self.disk = Disk(folder.path, config.save_every, display)
        self.events: EventFiles | None = None
        self.watch: DecodingWatch | None = None
        self._validated: int | None = None
        self._extended: list[list[int]] = []

    def prepare(self, *, continued: bool, exact: bool = False) -> None:
        """Build everything; nothing is written yet.

        Args:
            continued: take over the state that the folder holds.
            exact: only where the same bits will come of it.

        Raises ``ConfigError`` for what cannot work, ``ModelFileError`` for a damaged state.
        """
        config = self.config
        assert config.threads  # noqa: S101
        if config.tensorboard:
            self.events = EventFiles(self.folder.path / "tensorboard", config.to_toml())
        torch.set_num_threads(config.threads)
        keep_memory()
        if config.device == "cuda":  # the same bits again, and fp32 that is fp32
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = config.precision != "fp32"
        saved = newest_state(self.folder.state) if continued else None
        self.task = task_of(config, self.dataset, self.start, saved)
        self.scorer = Scorer(self.task, self.dataset, self.display, self.stop.check)
        network = build_network(self.task)
        if self.start:
            self.display.line(begin_with(network, self.start, self.dataset.classes))
        elif config.whiten and not saved:
            whiten_stem(self.task, network, self.train_split)
        self.state = state_of(self.task, network, self.steps_per_epoch)
        self.validation = self.dataset.splits.get("val")
        if config.compile and config.freeze != ALL:
            self.display.line(str(compile_network(self.task, self.state)))
        self._interval_began = time.monotonic()
        if saved:
            self._restore(saved, exact)
        self.features = self._features() if self.task.from_features else {}
        self.closing = closing_parts(self.dataset.splits)
        if config.cache and not self.features:
            parts = cached(self.task, self.dataset.splits, self.display)
            self.train_split = parts.get("train", self.train_split)
            self.validation = parts.get("val", self.validation)
            self.closing = closing_parts(self.dataset.splits | parts)
        self.budget = self._budget()

    def run(self, *, again: str = "the same command") -> None:
        """Train, score once, seal. Raises ``Interrupted`` and ``CannotGoOn``.

        Args:
            again: what a person types to go on after an interruption.
        """
        self.write_rows()
        if self.start:  # from here on the run needs them no more
            self.save()
        batches = batches_of(self.task, self.train_split, self.features.get("train"))
        self._describe(batches)
        if isinstance(batches, WorkerBatches) and isinstance(self.train_split.images, FileImages):
            batches = self.watch = DecodingWatch(batches, self.task, self.dataset.splits)
        self.disk.warn_of_little_room(self.state)
        self._begin_bar()
        with self.stop:
            predictions: dict[str, Predictions] = {}
            trouble = None
            try:
                train(
                    self.task,
                    self.state,
                    batches,
                    stop=self.stop,
                    budget=self.budget,
                    validate=self.validate,
                    after_step=self.after_step,
                    not_finite=self.not_finite,
                )
                self.write_rows()
                self.save_locked()
                predictions = self.scorer.final(self._chosen_weights(), self.closing)
                for name, answers in predictions.items():
                    answers.save(self.folder.predictions(name))
            except (StopRequested, CannotGoOn, DataError) as reason:
                trouble = reason
                try:
                    self.save_locked()
                except CannotGoOn as refused:
                    trouble = refused  # what was learned is sealed all the same: it is smaller
            if self.events:
                self.events.close()
            self._seal(predictions, finished=trouble is None)
            if trouble is None and predictions:
                self._report()
        if isinstance(trouble, StopRequested):
            raise self._interrupted(again)
        if trouble:
            raise trouble

    def validate(self) -> None:
        """Score the validation split, add a row to ``metrics.csv``, keep the best weights."""
        state, began = self.state, time.monotonic()
        accuracy = loss = best = None
        if self.validation:
            weights = state.validated_weights()
            features = self.features.get("val")
            accuracy, loss = self.scorer.validate(weights, self.validation, features)
            if state.best is None or state.best.beaten_by(accuracy, loss):
                kept = {name: tensor.clone() for name, tensor in weights.items()}
                best = Best(state.step, accuracy, loss, kept)
            if self.budget:
                self.budget.validation_took(time.monotonic() - began)
        last = state.step - 1
        training_seconds = max(1e-3, began - self._interval_began)
        row: Row = {
            "epoch": round(state.step / self.steps_per_epoch, 4),
            "step": state.step,
            "train_loss": state.loss_sum / max(1, state.seen),
            "train_accuracy": state.correct / max(1, state.seen),
            "val_loss": loss,
            "val_accuracy": accuracy,
            "learning_rate": learning_rate(self.config, last, progress(last, state.plans)),
            "images_per_second": round(state.seen / training_seconds, 1),
            "seconds": round(time.monotonic() - self._interval_began, 2),
        }
        with self.stop.lock:  # a row and what follows from it are saved together or not at all
            state.best = best or state.best
            state.stale = 0 if best else state.stale + 1
            state.close_row(row)
            self._interval_began = time.monotonic()
        self.disk.note(self.write_rows)
        self.display.line(row_text(row))
        self._begin_bar()

    def write_rows(self) -> None:
        """Write ``metrics.csv``, and the same for TensorBoard. Raises ``CannotGoOn``."""
        self.folder.write_metrics(self.state.rows)
        if self.events:
            self.events.write(self.state.rows)

    def after_step(self, loss: float) -> None:
        """Show the step and what there is to say; save the state when it is time."""
        state = self.state
        if state.plans[-1].start == state.step:
            self._begin_bar()  # a new plan, another end
        self.display.advance(
            self.config.batch_size, loss=loss, accuracy=state.correct / max(1, state.seen)
        )
        if self.watch and (sentence := self.watch.sentence()):
            self.display.line(sentence)
        if self.disk.due:
            self.disk.save(self.save_locked)

    def not_finite(self, problem: NotFinite) -> None:
        """Pass over a step where that was asked for. Raises ``CannotGoOn`` elsewhere."""
        skip_or_stop(problem, self.state, self.config, self.train_split, self.folder, self.display)

    def save_locked(self) -> None:
        """Write the training state while nobody else can."""
        with self.stop.lock:
            self.save()

    def save(self) -> None:
        """Write the training state; ``stop.lock`` is held by the caller."""
        began = time.monotonic()
        extra = {
            "environment": environment(self.config),
            "interval": began - self._interval_began,
            "validated": len(self.validation or ()),
            "extended": self._extended,
        }
        tensors, info = self.state.to_file(began - self.started, extra)
        if self.task.mean_image is not None:
            tensors[MEAN_IMAGE] = self.task.mean_image
        save_state(self.folder.state, self.state.step, tensors, info)
        self.disk.took(time.monotonic() - began)

    # Before the loop

    def _features(self) -> dict[str, Tensor]:
        """What the head reads of every training and validation image, computed or kept."""
        parts = {name: self.dataset.splits.get(name) for name in ("train", "val")}
        self.display.begin("computing features", sum(len(split or ()) for split in parts.values()))

        def tell(images: int) -> None:
            self.display.advance(images)
            self.stop.check()

        found = {
            name: cached_features(
                self.state.model, split, self.task.preprocess, self.task.mean_image, tell=tell
            )
            for name, split in parts.items()
            if split
        }
        self.display.end()
        return found

    def _budget(self) -> Budget | None:
        """What the time is planned with. Raises ``ConfigError`` where it is too short to score."""
        seconds = self.config.budget
        if not seconds:
            return None
        validating, scoring = self.scorer.seconds_per_image()
        if self.features:
            validating = 0.0
        closing = scoring * sum(map(len, self.closing.values())) + CLOSING
        left = self.started + seconds - time.monotonic()
        if self.state.step == 0 and closing > left / 2:
            raise ConfigError(
                f"reading the data and scoring it at the end take {seconds - left + closing:.0f} s "
                f"of a budget of {seconds:g} s",
                fix=f"--budget {math.ceil((seconds - left + 2.5 * closing) / 60)}m, or longer",
            )
        self._limit_validation(int(VALIDATION_SHARE * left / 5 / max(1e-9, validating)))
        return Budget(
            seconds=seconds,
            started=self.started,
            steps_per_epoch=self.steps_per_epoch,
            validation_seconds=validating * len(self.validation or ()),
            scoring_seconds=closing - CLOSING,
            writing_seconds=CLOSING,
        )

    def _limit_validation(self, affordable: int) -> None:
        """Validate on a part, the same every time, where five times all would take too long."""
        val = self.validation
        if val is None:
            return
        if self._validated is None:
            self._validated = min(len(val), max(affordable, FEWEST_VALIDATED))
        if self._validated < len(val):
            self.validation = val.take(by_hash(val.names)[: self._validated])
            self.display.line(
                f"validating on {self._validated:,} of {len(val):,} images, to keep the budget"
            )

    # Continuing and ending

    def _restore(self, saved: State, exact: bool) -> None:
        """Take over a saved state. Raises ``ConfigError`` where bits will differ and may not."""
        for path in saved.damaged:
            self.display.line(f"{path} is damaged; the state before it is used")
        planned = self.state.plans[0]
        self.state.restore(saved)
        self.started -= saved.info["seconds"]
        self._interval_began -= saved.info["interval"]
        self._validated = saved.info["validated"]
        self._extended = saved.info["extended"]
        if not self.config.budget and planned != self.state.plans[0]:  # with --extend
            self._extended = [*self._extended, [self.state.step, self.state.plans[0].total]]
            self.state.plans, self.state.stale = [planned], 0
        self.display.line(f"continuing after step {self.state.step:,}")
        then, now = saved.info["environment"], environment(self.config)
        changed = [
            f"{key} {then.get(key)} -> {now[key]}" for key in now if then.get(key) != now[key]
        ]
        if changed and exact:
            raise ConfigError(
                f"the same bits cannot come of it here: {', '.join(changed)}",
                fix="go on where the run began, or without --exact",
            )
        if changed:
            self.display.line(f"results will differ in their last bits: {', '.join(changed)}")

    def _interrupted(self, again: str) -> Interrupted:
        assert self.stop.requested  # noqa: S101
        return Interrupted(
            f"stopped after step {self.state.step:,}; the state is saved in {self.folder.path}",
            fix=f"{again} continues there",
            exit_code=128 + self.stop.requested,
        )

    def _chosen_weights(self) -> dict[str, Tensor]:
        return self.state.best.weights if self.state.best else self.state.validated_weights()

    def _seal(self, predictions: dict[str, Predictions], *, finished: bool) -> None:
        """Seal the best weights so far; a run stopped before any validation has none."""
        if self.state.best is None and not finished:
            return
        calibration, scores = concluded(predictions)
        weights = self._chosen_weights()
        if self.task.mean_image is not None:
            weights = weights | {MEAN_IMAGE: self.task.mean_image}
        card = model_card(
            self.config,
            self.task.preprocess,
            self.dataset,
            self.state,
            scores,
            calibration,
            finished=finished,
            extended=self._extended,
            seconds=time.monotonic() - self.started,
        )
        seal(self.folder.model, weights, card)

    def _report(self) -> None:
        """Draw ``report.html``; a disk that refuses it takes nothing from the run."""
        try:
            where = write_report(
                self.folder.path,
                dataset=self.dataset,
                samples=first_images(self.task, self.train_split),
            )
        except CannotGoOn as refused:
            self.display.line(f"no report: {refused.problem}")
        else:
            self.display.line(f"report: {where}")

    # What a person sees

    def _describe(self, batches: Batches) -> None:
        config, plan = self.config, self.state.plans[-1]
        counts = ", ".join(f"{len(s):,} {name}" for name, s in self.dataset.splits.items())
        how = f"{config.workers} workers" if isinstance(batches, WorkerBatches) else "in memory"
        length = f"a budget of {config.budget:g} s" if config.budget else f"{plan.total:,} steps"
        self.display.line(
            f"{self.dataset.name}: {len(self.dataset.classes)} classes; images: {counts} ({how})"
        )
        self.display.line(
            f"{config.model} at {config.image_size} pixels, recipe {config.recipe}, {length} of "
            f"{config.batch_size} images, {config.precision} on {config.device}, "
            f"{config.threads} threads; run folder {self.folder.path}"
        )

    def _begin_bar(self) -> None:
        """A bar over what is left of the plan."""
        plan = self.state.plans[-1]
        if plan.validations:
            left = max(0, plan.total - self.state.step)
            self.display.begin("training", left * self.config.batch_size)
        else:
            self.display.begin("training", None)
