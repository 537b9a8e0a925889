"""Commands about the reasons for an answer: explain, embed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.cli.app import AsJson, DataDir, Device, RunPath, app


@app.command()
def explain(
    run: RunPath,
    images: Annotated[
        list[Path], typer.Argument(help="image files or folders of images", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="the folder for the pictures", show_default=False)],
    method: Annotated[
        str, typer.Option(help="grad-cam; with the extra `explain` integrated-gradients, occlusion")
    ] = "grad-cam",
    at: Annotated[
        str | None,
        typer.Option(
            metavar="POINT", help="where Grad-CAM looks, such as layer3 (else at the last map)"
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="what to explain (else the top answer)"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="exit code 1 where random weights leave a map as it is")
    ] = False,
    receptive_field: Annotated[
        str | None,
        typer.Option(metavar="POINT[:ROW,COLUMN]", help="draw what a unit sees, too"),
    ] = None,
    activations: Annotated[
        str | None, typer.Option(metavar="POINT", help="draw the channels of a map, too")
    ] = None,
    filters: Annotated[
        str | None, typer.Option(metavar="POINT", help="draw the kernels that lead to it, too")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per image")] = False,
    device: Device = "cpu",
) -> None:
    """Show where in an image the evidence for a class lies, beside the runner-up."""
    from resnets.console import Progress, show_explanation
    from resnets.decoding import decode
    from resnets.errors import UnreadableImage
    from resnets.explanation import PictureNames, Units, picture, write_picture
    from resnets.prediction import find_images, load

    classifier = load(run, device=device)
    explainer = classifier.explainer()
    explainer.check(method=method, at=at, label=label)
    units = Units(explainer, receptive_field, activations, filters)
    files = find_images(images)
    names = PictureNames(out, "-".join(filter(None, (method, at, label))))
    for kind, drawn in units.of_network():
        write_picture(out / f"{kind}.png", drawn)
    failed = False
    with Progress() as progress:
        progress.begin("explaining", len(files))
        for file in files:
            row: dict[str, Any] = {"file": str(file)}
            try:
                pixels = decode(file, background=classifier.preprocess.background)
            except UnreadableImage as error:
                row["error"] = error.reason(str(file))
                failed = True
            else:
                found = explainer.explain(pixels, method=method, at=at, label=label, check=check)
                row |= {"picture": str(names.of(file)), **found.to_dict()}
                write_picture(names.of(file), picture(found))
                for kind, drawn in units.of(pixels):
                    write_picture(names.of(file, kind), drawn)
                failed |= not found.passed
            if as_json:
                print(json.dumps(row), flush=True)
            else:
                show_explanation(row)
            progress.advance()
    if failed:
        raise typer.Exit(1)


@app.command()
def embed(
    run: RunPath,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA|IMAGES...",
            help="image files and folders, or one CSV file or data set's name",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="a file, .npz or .csv", show_default=False)],
    neighbours: Annotated[
        int | None,
        typer.Option(metavar="K", help="print the K nearest of each image", min=1),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    device: Device = "cpu",
) -> None:
    """Write what the head reads of every image, and print which images are near each other."""
    from resnets.console import Progress, say, show_neighbours, warn
    from resnets.data import open_dataset
    from resnets.explanation.embedding import check_kind
    from resnets.prediction import find_images, load

    check_kind(out)
    classifier = load(run, device=device)
    first = Path(data[0])
    by_name = len(data) == 1 and (first.suffix.lower() == ".csv" or not first.exists())
    with Progress() as progress:
        progress.begin("embedding", None)
        found = classifier.embed(
            open_dataset(data[0], data_dir=data_dir, whole="test")
            if by_name
            else find_images(data),
            progress=progress.advance,
        )
    found.save(out)
    if neighbours:
        for row in found.rows(neighbours):
            if as_json:
                print(json.dumps(row), flush=True)
            else:
                show_neighbours(row)
    for name, why in found.unreadable:
        warn(f"left out: {name}: {why}")
    images, numbers = found.features.shape
    (warn if as_json else say)(f"{out}: {images:,} images, {numbers:,} features each")
    if found.unreadable:
        raise typer.Exit(1)
