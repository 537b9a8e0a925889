"""The command line: a command reads its arguments, calls one public function, prints."""

import time

STARTED = time.monotonic()  # a budget counts from here: before typer, and long before torch

import io  # noqa: E402
import sys  # noqa: E402
from typing import Annotated  # noqa: E402

import typer  # noqa: E402

# each adds its commands to the application
from resnets.cli import (  # noqa: E402, F401
    answers,
    benchmarking,
    calibrating,
    checking,
    doctor,
    experiments,
    explaining,
    exporting,
    importing,
    networks,
    reporting,
    serving,
    training,
    verifying,
)
from resnets.cli.app import app  # noqa: E402
from resnets.machine import keep_memory  # noqa: E402


@app.callback(invoke_without_command=True)
def top_level(
    version: Annotated[
        bool, typer.Option("--version", help="versions, threads and bf16 support")
    ] = False,
) -> None:
    """Train, evaluate and use image classifiers with residual networks."""
    if version:
        import torch

        from resnets import __version__
        from resnets.machine import available_cores, bf16_gains

        cuda = torch.cuda.is_available()
        bf16 = "yes" if bf16_gains("cuda" if cuda else "cpu") else "no"
        print(
            f"resnets {__version__}, torch {torch.__version__}, "
            f"python {sys.version.split()[0]}, {available_cores()} threads, "
            f"bf16: {bf16}, GPU: {torch.cuda.get_device_name() if cuda else 'none'}"
        )
        raise typer.Exit


def main() -> None:
    """The entry point of ``resnets`` and of ``python -m resnets``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    keep_memory()
    app()
