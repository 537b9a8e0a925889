"""Errors raised on purpose: each says what happened and one action that mends it.

The command line prints them as two lines and exits with ``exit_code``; anything that is
not a ``ResnetsError`` is our bug and keeps its traceback.
"""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any


class ResnetsError(Exception):
    """Base of every deliberate error; ``fix`` is one action the reader can take."""

    exit_code = 2

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem = problem
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor with the message alone: not enough for any of us.
        return _restored, (type(self), self.args, self.__dict__)


class ConfigError(ResnetsError, ValueError):
    """A setting that cannot work, found before any work starts."""


class DataError(ResnetsError, ValueError):
    """Images, labels or folders that cannot be used as they are."""


class UnreadableImage(DataError):
    """One file that is no image we can read; the message names the reason."""

    def reason(self, name: str) -> str:
        """Why it cannot be read, without its name, which is told beside it."""
        return self.problem.partition(f"{name}: ")[2] or self.problem


class ModelFileError(ResnetsError, ValueError):
    """A sealed model or a training state that is missing, damaged or does not fit."""


class CannotGoOn(ResnetsError, RuntimeError):
    """The run had to stop: disk full, damaged state, loss not finite, lost worker."""

    exit_code = 3


class Interrupted(ResnetsError, RuntimeError):
    """A stop was asked for and the state is saved; ``exit_code`` is 130 or 143."""

    def __init__(self, problem: str, *, fix: str, exit_code: int) -> None:
        super().__init__(problem, fix=fix)
        self.exit_code = exit_code


class UnknownName(ResnetsError, LookupError):
    """A model, data set, recipe or setting that does not exist; offers the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, listing: str) -> None:
        super().__init__(f"no {kind} named {name!r}", fix=f"{did_you_mean(name, known)}{listing}")


class MissingExtra(ResnetsError, ImportError):
    """An optional dependency is needed now and is not installed."""


def _restored(kind: type[ResnetsError], args: tuple[Any, ...], held: dict[str, Any]) -> Any:
    """An error that crossed a process border, with all it held."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(held)
    return error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"did you mean 'x'? "`` for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module`` where it is used, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as cause:
        if cause.name != module.partition(".")[0]:
            raise  # the extra is there but broken: show the real failure
        raise MissingExtra(
            f"this needs {module}, which is not installed",
            fix=f"pip install 'resnets[{extra}]'",
        ) from cause
