"""Five test images of the bundled sample as PNG files, named after their true class.

$ python examples/demo_images.py runs/demo-images
$ resnets predict runs/demo runs/demo-images/*.png
"""

import re
import sys
from pathlib import Path

from PIL import Image

from resnets.data import open_dataset


def main(folder: Path, count: int = 5) -> None:
    """Write the first test image of each of ``count`` classes into ``folder``."""
    dataset = open_dataset("sample")
    test = dataset.splits["test"]
    folder.mkdir(parents=True, exist_ok=True)
    for label, name in enumerate(dataset.classes[:count]):
        image = test.images[int((test.labels == label).argmax())]  # (H, W, 1 or 3) uint8
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")  # "T-shirt/top" is no file name
        file = folder / f"{plain}.png"
        Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(file)
        print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo-images"))
