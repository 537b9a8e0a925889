"""A site that answers in the visitor's own browser: page, model and runtime in one flat folder.

    the service's page + exporting/site/ + onnxruntime-web + model.onnx, model.json -> site/

Any static host will do. Files of the page are read, never imported: no service is started here.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resnets.errors import ConfigError, require
from resnets.sealing import CARD, SUMS, as_json, sums_of

RUNTIME_VERSION = "1.30.0"
RUNTIME_FILES = {
    "ort.wasm.min.mjs": (
        "onnxruntime.js",
        "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    ),
    "ort-wasm-simd-threaded.mjs": (
        "onnxruntime-wasm.js",
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    ),
    "ort-wasm-simd-threaded.wasm": (
        "onnxruntime.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}
"""Of onnxruntime-web at that version: the name in the site, where some hosts do not know .mjs, and
the SHA-256. Another version would not be what the site was tested with."""
LICENCES = {
    "LICENSE": "onnxruntime.LICENSE.txt",
    "ThirdPartyNotices.txt": "onnxruntime.ThirdPartyNotices.txt",
}
"""Of the Python package, whose licence is the same; the other one comes without."""
PACKAGE = Path(__file__).parents[1]
PAGE, SITE = PACKAGE / "serving" / "page", Path(__file__).parent / "site"
PLACES = (Path(__file__).parent / "runtime", Path("node_modules/onnxruntime-web/dist"))
"""Where the runtime is looked for: as ``make web`` and as npm leave it."""
WORKER = "service-worker.js"
PUBLIC = (
    *("architecture", "options", "num_classes", "label_names", "input_size", "interpolation"),
    *("crop_pct", "mean", "std", "preprocess", "temperature", "threshold", "versions", "license"),
)
PUBLIC_SCORES = (
    *("split", "data", "n", "accuracy", "top5", "per_class", "log_loss", "brier"),
    *("calibration_error", "selective"),
)
"""What a site tells of its model's card."""


def find_runtime(folder: Path | None = None) -> dict[str, bytes]:
    """The files of onnxruntime-web and its licence, by their names in a site.

    Args:
        folder: where to look; by default in ``PLACES``.

    Raises ``ConfigError`` where it is missing or not the pinned version.
    """
    places = PLACES if folder is None else (folder,)
    found = next((place for place in places if (place / next(iter(RUNTIME_FILES))).exists()), None)
    fix = f"npm install onnxruntime-web@{RUNTIME_VERSION}"
    if found is None:
        looked = " or ".join(map(str, places))
        raise ConfigError(f"a site needs onnxruntime-web, which is not in {looked}", fix=fix)
    files = {}
    for name, (name_in_site, digest) in RUNTIME_FILES.items():
        try:
            data = (found / name).read_bytes()
        except OSError as cause:
            raise ConfigError(
                f"{found / name} cannot be read: {cause.strerror}", fix=fix
            ) from cause
        if hashlib.sha256(data).hexdigest() != digest:
            raise ConfigError(
                f"{found / name} is not that of onnxruntime-web {RUNTIME_VERSION}", fix=fix
            )
        files[name_in_site] = data
    package = Path(str(require("onnxruntime", extra="onnx").__file__)).parent
    return files | {new: (package / name).read_bytes() for name, new in LICENCES.items()}


def site_files(
    files: Mapping[str, bytes], card: Mapping[str, Any], *, runtime: Mapping[str, bytes]
) -> dict[str, bytes]:
    """All files of a site, by name, but for the ``SHA256SUMS`` over them.

    Args:
        files: the model's.
        runtime: of ``find_runtime``.
    """
    page = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.is_file()}
    local = {path.name: path.read_bytes() for path in sorted(SITE.iterdir()) if path.is_file()}
    whole = {**page, **local, **runtime, **files, CARD: as_published(card)}
    del whole["remote.js"]  # asks a service
    kept = sorted({*whole, SUMS} - {*files, WORKER, *LICENCES.values()})
    version = hashlib.sha256(sums_of(whole)).hexdigest()[:16]
    head = f"const VERSION = {json.dumps(version)};\nconst FILES = {json.dumps(kept)};\n\n"
    return {**whole, WORKER: head.encode() + whole[WORKER]}


def as_published(card: Mapping[str, Any]) -> bytes:
    """The card as anyone may read it: without folders of this machine and names of images."""
    export = dict(card["export"])
    if "proof" in export:
        export["proof"] = {k: v for k, v in export["proof"].items() if k != "changed_images"}
    scores = card.get("scores") and _some(card["scores"], PUBLIC_SCORES)
    return as_json(_some(card, PUBLIC) | {"scores": scores, "export": export})


def _some(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}
