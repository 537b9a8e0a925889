"""Findings as one HTML file: escaped, with thumbnails of pictures that belong together."""

from resnets.data.doctor.findings import Finding, Findings, Item
from resnets.data.sources import Dataset
from resnets.errors import UnreadableImage
from resnets.pages import page as html
from resnets.pages import text, thumbnail

SIDE = 112
"""Of a thumbnail, in pixels."""
MOST = 200
"""So many items of a finding are shown; all are in the JSON."""
EACH = 6
"""So many pictures of an item."""
WITH_PICTURES = frozenset({"duplicates", "near-duplicates", "two-labels", "copies", "odd-sizes"})

_STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
h2 { margin-bottom: 0 } .stops { color: #b00020 } .harms { color: #8a5300 }
.item { border-top: 1px solid #ccc; padding: .5em 0; overflow-wrap: anywhere }
figure { display: inline-block; margin: 0 .5em 0 0; width: 11em; vertical-align: top }
figcaption { font-size: 80% } code { background: #eee; padding: 0 .2em }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd }
 code { background: #333 } .stops { color: #ff7a85 } .harms { color: #ffb75c } }
"""


def page(findings: Findings, dataset: Dataset) -> str:
    """The page; ``dataset`` gives the pictures."""
    where = {
        name: (split.images, index)
        for split in dataset.splits.values()
        for index, name in enumerate(split.names)
    }

    def picture(name: str) -> str:
        if name not in where:
            return ""
        images, index = where[name]
        try:
            pixels = images[index]
        except (OSError, UnreadableImage):  # gone since
            return ""
        return thumbnail(pixels, SIDE)

    def item(kind: str, one: Item) -> str:
        note = f"<div>{text(one.note)}</div>" if one.note else ""
        if kind not in WITH_PICTURES:
            return f'<div class="item">{", ".join(map(text, one.paths))}{note}</div>'
        figures = "".join(
            f"<figure>{picture(path)}<figcaption>{text(path)}</figcaption></figure>"
            for path in one.paths[:EACH]
        )
        more = len(one.paths) - EACH
        return f'<div class="item">{note}{figures}{f"and {more:,} more" if more > 0 else ""}</div>'

    def section(found: Finding) -> str:
        shown = "".join(item(found.kind, one) for one in found.items[:MOST])
        more = len(found.items) - MOST
        return (
            f'<h2 class="{found.weight}">{text(found.kind)}: {found.count:,}</h2>'
            f"<p>{text(found.what)}. Effect: {text(found.effect)}.<br>"
            f"To do: <code>{text(found.fix)}</code></p>"
            f"{shown}{f'<p>and {more:,} more</p>' if more > 0 else ''}"
        )

    images = ", ".join(f"{count:,} {part}" for part, count in findings.images.items())
    return html(
        findings.name,
        _STYLE,
        f"<h1>{text(findings.source)}</h1><p>{findings.classes:,} classes; images: {images}</p>"
        + "".join(f"<p>{text(sentence)}</p>" for sentence in findings.unchecked)
        + ("".join(map(section, findings.findings)) or "<p>nothing was found</p>"),
    )
