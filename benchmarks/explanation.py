"""How faithful maps of evidence are, method by method, and whether random weights change them.

    python benchmarks/explanation.py --run RUN --data DIR            # to results/explanation.csv
    python benchmarks/explanation.py --run RUN --data DIR --print    # prints only

Explains evenly taken photos of DIR, by default 20, for the top answer and for the runner-up. A row
for each method: the mean areas under the top answer's probability while pixels are deleted and
inserted (arXiv:1806.07421), and the rank correlation of its maps with those of random weights
(arXiv:1810.03292), mean and largest over all maps, with how many of them pass. Two orders that know
nothing of the network stand beside them: random, and from the middle of the image outwards. About
half an hour on two cores for a ResNet-50 at 128 pixels.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import append

from resnets.decoding import decode
from resnets.explanation import METHODS, Explainer, Explanation
from resnets.explanation.faithfulness import Faithfulness, faithfulness
from resnets.explanation.pictures import PictureNames, picture, write_picture
from resnets.prediction import find_images, load


def chosen(folder: Path, count: int) -> list[Path]:
    """Photos of all classes alike: every so manieth of all."""
    files = find_images([folder])
    return files[:: max(1, len(files) // count)][:count]


def by_method(explainer: Explainer, method: str, photos: list[np.ndarray]) -> Iterator[Explanation]:
    for photo in photos:
        yield explainer.explain(photo, method=method, check=True)


def row(method: str, scores: list[Faithfulness], **checked: Any) -> dict[str, Any]:
    return {
        "method": method,
        "images": len(scores),
        "deletion": f"{np.mean([each.deletion for each in scores]):.4f}",
        "insertion": f"{np.mean([each.insertion for each in scores]):.4f}",
        **{key: checked.get(key, "") for key in ("maps", "correlation", "largest", "passed")},
    }


def of_method(found: list[Explanation]) -> dict[str, Any]:
    maps = [each for explanation in found for each in explanation.evidence]
    correlations = [each.correlation for each in maps if each.correlation is not None]
    return row(
        found[0].method,
        [explanation.evidence[0].scores for explanation in found],
        maps=len(maps),
        correlation=f"{np.mean(correlations):+.4f}",
        largest=f"{max(correlations):+.4f}",
        passed=sum(each.passed for each in maps),
    )


def of_order(explainer: Explainer, name: str, photos: list[np.ndarray]) -> dict[str, Any]:
    """The scores of an order of pixels that is made without the network."""
    generator = torch.Generator().manual_seed(0)
    scores = []
    for photo in photos:
        _, batch = explainer.batch(photo)
        height, width = batch.shape[-2:]
        if name == "random order":
            order = torch.rand(height, width, generator=generator)
        else:
            down, right = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
            order = -(down[:, None] ** 2 + right**2)
        with torch.no_grad():
            top = int(explainer.network(batch).argmax())
        scores.append(faithfulness(explainer.network, batch, order.to(batch), top))
    return row(name, scores)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--run", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True, help="a folder of photos")
    arguments.add_argument("--images", type=int, default=20)
    arguments.add_argument("--pictures", type=Path, help="keep the pictures in this folder")
    arguments.add_argument("--print", action="store_true", help="record nothing")
    given = arguments.parse_args()
    classifier = load(given.run)
    explainer = classifier.explainer()
    files = chosen(given.data, given.images)
    photos = [decode(file, background=classifier.preprocess.background) for file in files]
    model = classifier.card["architecture"]
    size = "x".join(map(str, classifier.preprocess.input_size))

    def record(figures: dict[str, Any]) -> None:
        append("explanation", {"model": model, "input": size, **figures}, force=given.print)

    for method in METHODS:
        found = list(by_method(explainer, method, photos))
        record(of_method(found))
        if given.pictures:
            names = PictureNames(given.pictures, method)
            for file, explanation in zip(files, found, strict=True):
                write_picture(names.of(file), picture(explanation))
    for name in ("random order", "from the middle"):
        record(of_order(explainer, name, photos))


if __name__ == "__main__":
    main()
