"""The data sets that have a name, as a table: licence, classes, files, where they come from."""

from dataclasses import dataclass
from pathlib import Path

from resnets.data.fetching import Remote

LICENCES = {
    "sample": "MIT, Copyright © 2017 Zalando SE (12,000 images of Fashion-MNIST)",
    "cifar10": "none stated; cite Krizhevsky, Learning Multiple Layers of Features, 2009",
    "cifar100": "none stated; cite Krizhevsky, Learning Multiple Layers of Features, 2009",
    "mnist": "CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
    "fashion-mnist": "MIT, Copyright © 2017 Zalando SE",
    "imagenet": "non-commercial research and education, by the terms on image-net.org",
}
NAMES = tuple(LICENCES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One of the forms in which a CIFAR set is published."""

    archive: Remote
    folder: str
    """What the archive unpacks to."""
    files: dict[str, dict[str, str | None]]
    """The files of each split, with their MD5s where nothing is read without."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CifarSet:
    """CIFAR-10 or CIFAR-100: the binary version, or the python one where that is there."""

    classes: tuple[str, ...]
    binary: Version
    records: dict[str, int]
    """Images per binary file of each split."""
    label_bytes: int
    python: Version
    labels_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class IdxSet:
    """A set of the MNIST family: images and labels of each split, one file each."""

    classes: tuple[str, ...]
    folder: str
    """Where torchvision keeps the files, below its root."""
    files: dict[str, tuple[Remote, Remote]]
    contents: dict[str, tuple[str, str]]
    """MD5s of the unpacked files: all sets name their files alike, and packers differ."""
    also_in: tuple[Path, ...] = ()
    """Where a system's package puts the files."""


FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
TORONTO = "https://www.cs.toronto.edu/~kriz/"
IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def _gz(
    mirrors: tuple[str, ...], md5s: dict[str, tuple[str, str]]
) -> dict[str, tuple[Remote, Remote]]:
    def remote(name: str, md5: str) -> Remote:
        return Remote(f"{name}.gz", tuple(f"{mirror}{name}.gz" for mirror in mirrors), md5)

    return {
        part: (remote(images, md5s[part][0]), remote(labels, md5s[part][1]))
        for part, (images, labels) in IDX_NAMES.items()
    }


def _toronto(name: str, md5: str) -> Remote:
    return Remote(name, (TORONTO + name,), md5)


# URLs and MD5s as in torchvision.datasets, those of CIFAR's binary versions as on CIFAR's page.
NAMED: dict[str, CifarSet | IdxSet] = {
    "cifar10": CifarSet(
        classes=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
        binary=Version(
            archive=_toronto("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
            folder="cifar-10-batches-bin",
            files={
                "train": {f"data_batch_{number}.bin": None for number in range(1, 6)},
                "test": {"test_batch.bin": None},
            },
        ),
        records={"train": 10_000, "test": 10_000},
        label_bytes=1,
        python=Version(
            archive=_toronto("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
            folder="cifar-10-batches-py",
            files={
                "train": {
                    "data_batch_1": "c99cafc152244af753f735de768cd75f",
                    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                    "data_batch_4": "634d18415352ddfa80567beed471001a",
                    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                },
                "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
            },
        ),
        labels_key="labels",
    ),
    "cifar100": CifarSet(
        classes=tuple(
            "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge "
            "bus butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud "
            "cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox "
            "girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
            "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree "
            "pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray "
            "road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel "
            "streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
            "trout tulip turtle wardrobe whale willow_tree wolf woman worm".split()
        ),
        binary=Version(
            archive=_toronto("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
            folder="cifar-100-binary",
            files={"train": {"train.bin": None}, "test": {"test.bin": None}},
        ),
        records={"train": 50_000, "test": 10_000},
        label_bytes=2,
        python=Version(
            archive=_toronto("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
            folder="cifar-100-python",
            files={
                "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
                "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
            },
        ),
        labels_key="fine_labels",
    ),
    "mnist": IdxSet(
        classes=tuple("0123456789"),
        folder="MNIST/raw",
        files=_gz(
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "http://yann.lecun.com/exdb/mnist/",
            ),
            {
                "train": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
                "test": ("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
            },
        ),
        contents={
            "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
            "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        },
    ),
    "fashion-mnist": IdxSet(
        classes=FASHION,
        folder="FashionMNIST/raw",
        also_in=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian: dataset-fashion-mnist
        files=_gz(
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            {
                "train": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
                "test": ("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
            },
        ),
        contents={
            "train": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
            "test": ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
        },
    ),
}
