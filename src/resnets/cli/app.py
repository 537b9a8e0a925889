"""The application that commands are added to, and the arguments that several of them share."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from resnets.console import warn
from resnets.errors import ResnetsError

ORDER = (
    *("data", "models", "describe", "verify", "import"),
    *("train", "check", "evaluate", "calibrate", "report"),
    *("predict", "explain", "embed", "export", "serve", "benchmark", "experiment"),
)
"""The commands in the order of a classifier's life."""


class Commands(TyperGroup):
    """The commands, with one place where expected trouble becomes two lines and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names as ``resnets --help`` lists them."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except ResnetsError as problem:
            warn(f"resnets: {problem}")
            sys.exit(problem.exit_code)
        except BrokenPipeError:
            raise  # `resnets predict ... | head`: typer ends quietly
        except KeyboardInterrupt:
            print("resnets: stopped", file=sys.stderr)
            sys.exit(130)
        except Exception as bug:
            if type(bug).__module__.partition(".")[0] in ("typer", "click"):
                raise  # a mistyped command, or an ordinary end
            traceback.print_exc()
            print(
                "resnets: this is our bug; please report it with the lines above", file=sys.stderr
            )
            sys.exit(70)


app = typer.Typer(
    cls=Commands,
    help="Train, evaluate and use image classifiers with residual networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunPath = Annotated[Path, typer.Argument(help="a run folder or a sealed model", show_default=False)]
ModelPath = Annotated[
    Path, typer.Argument(help="a run folder, or a sealed or exported model", show_default=False)
]
EngineChoice = Annotated[
    Literal["auto", "pytorch", "onnxruntime", "openvino"] | None,
    typer.Option("--engine", help="what runs it; auto: the fastest of the run's exports"),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="where named data sets lie, or are downloaded to", show_default=False),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps")]
Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help="bf16 may change answers")]
Mirror = Annotated[
    Literal["none", "flip"],
    typer.Option("--tta", help="flip: the mean over each image and its mirror"),
]
