"""Files of published data sets: downloaded, held against their checksum, unpacked."""

import hashlib
import http.client
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnets.errors import DataError


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that its publisher names with an MD5, which tells damage (not an attacker)."""

    name: str
    urls: tuple[str, ...]
    """The same file on several servers."""
    md5: str


def md5_of(path: Path) -> str:
    """The MD5 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch(remote: Remote, folder: Path, *, data_set: str, beside: Sequence[Remote] = ()) -> Path:
    """Download a file into ``folder``, with a progress bar; it appears there whole or not at all.

    Args:
        beside: the other files of the data set, for whoever has to fetch them by hand.

    Raises ``DataError`` that says both ways to get the data: by network and by hand.
    """
    from torchvision.datasets.utils import download_url

    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as part:
            for url in remote.urls:
                try:
                    download_url(url, part, filename=remote.name, md5=remote.md5)
                except RuntimeError:
                    reasons.append(f"{url} gave a file without the MD5 {remote.md5}, now removed")
                except (OSError, http.client.HTTPException) as cause:
                    words = str(cause).removeprefix("<urlopen error ").removesuffix(">")
                    reasons.append(f"{url}: {words}")
                else:
                    return (Path(part) / remote.name).replace(folder / remote.name)
    except OSError as cause:
        raise _unwritable(folder, cause) from cause
    names = ", ".join(dict.fromkeys(each.name for each in (remote, *beside)))
    raise DataError(
        f"{data_set} is not in {folder} and could not be downloaded: {'; '.join(reasons)}",
        fix=f"connect to the network and type the command again, or put {names} "
        f"from {remote.urls[0].rpartition('/')[0]} into {folder}",
    )


def unpack(archive: Path, remote: Remote, folder: str) -> Path:
    """The folder that an archive holds, unpacked beside it after its checksum matched."""
    if (found := md5_of(archive)) != remote.md5:
        raise DataError(
            f"{archive} has the MD5 {found}, not the official {remote.md5}: damaged or incomplete",
            fix="remove it and type the command again, which downloads it",
        )
    if not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"this Python cannot unpack {archive} safely: it is older than 3.11.4",
            fix=f"unpack it by hand in {archive.parent}, or use a newer Python",
        )
    target = archive.parent / folder
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".unpack-", dir=archive.parent) as part,
            tarfile.open(archive) as tar,
        ):
            tar.extractall(part, filter="data")
            return (Path(part) / folder).replace(target)
    except tarfile.TarError as cause:
        raise DataError(
            f"{archive} cannot be unpacked: {cause}", fix="remove it and fetch it again"
        ) from cause
    except OSError as cause:
        if target.is_dir():  # another process was faster
            return target
        raise _unwritable(archive.parent, cause) from cause


def _unwritable(folder: Path, cause: OSError) -> DataError:
    return DataError(
        f"cannot write into {folder}: {cause.strerror or cause}",
        fix="make room there, or name another folder: RESNETS_DATA_DIR=/some/folder",
    )
