"""The command that puts a model behind HTTP: serve."""

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli.app import EngineChoice, ModelPath, Precision, app


@app.command()
def serve(
    run: ModelPath,
    host: Annotated[
        str, typer.Option(help="the address to listen at; one open to others needs a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free", min=0, max=65535)] = 8000,
    engine: EngineChoice = None,
    precision: Precision = "fp32",
    token_file: Annotated[
        Path | None,
        typer.Option(help="a file with the token that clients send", show_default="RESNETS_TOKEN"),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="a name that clients use for this service; may be repeated"
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", help="images answered together, at most", min=1)
    ] = 8,
    max_megabytes: Annotated[int, typer.Option(help="the size of a request, at most", min=1)] = 16,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", help="a line for each request")
    ] = False,
) -> None:
    """Answer over HTTP: images in, labels, probabilities and heatmaps out, and a page."""
    from resnets.errors import require

    for module in ("fastapi", "python_multipart", "uvicorn"):
        require(module, extra="serve")
    from resnets.serving import Limits, Settings
    from resnets.serving.server import serve as run_service
    from resnets.serving.settings import MEGABYTE, read_token

    body = max_megabytes * MEGABYTE
    limits = Limits(batch=batch_size, body=body, held=max(Limits.held, 3 * body // 2))
    run_service(
        Settings(
            run=run,
            host=host,
            port=port,
            engine=engine,
            precision=precision,
            token=read_token(token_file),
            allowed_hosts=tuple(name.lower() for name in allowed_host or ()),
            log_requests=log_requests,
            limits=limits,
        )
    )
