"""The few shapes that a diagram is made of, as SVG text."""

from xml.sax.saxutils import escape, quoteattr

from resnets.console import printable

STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }
.title { font-size: 20px; font-weight: 600; }
.name { font-size: 14px; font-weight: 600; }
.times { font-size: 16px; font-weight: 600; }
.small { font-size: 11px; }
text { fill: #1f2328; }
.muted { fill: #59636e; }
.page { fill: #ffffff; }
.stage { fill: #f4f6f8; }
.repeat { fill: none; stroke: #9aa4ae; stroke-dasharray: 2 3; }
.conv { fill: #dbeafe; stroke: #2563eb; }
.pool { fill: #fef0d6; stroke: #b45309; }
.linear { fill: #dcf5e3; stroke: #15803d; }
.other, .merge { fill: #ffffff; stroke: #59636e; }
.line { fill: none; stroke: #59636e; stroke-width: 1.3; }
.changed { stroke-dasharray: 5 4; }
.tip { fill: #59636e; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .muted { fill: #9aa4ae; }
  .page { fill: #0d1117; }
  .stage { fill: #161b22; }
  .repeat { stroke: #6e7681; }
  .conv { fill: #10294d; stroke: #5c9dff; }
  .pool { fill: #3b2a10; stroke: #e0a048; }
  .linear { fill: #12341f; stroke: #4ac26b; }
  .other, .merge { fill: #0d1117; stroke: #9aa4ae; }
  .line { stroke: #9aa4ae; }
  .tip { fill: #9aa4ae; }
}
"""
"""Light, and dark where the reader's screen is."""


class Canvas:
    """Shapes in the order in which they are drawn; lengths are pixels, y grows downwards."""

    def __init__(self) -> None:
        self._shapes: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """One line of text whose baseline is at y."""
        self._shapes.append(
            f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{_safe(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A rectangle with round corners, by its upper left corner."""
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
            f'class="{kind}"/>'
        )

    def line(self, *points: tuple[float, float], arrow: bool = False, kind: str = "line") -> None:
        """Straight pieces from point to point."""
        path = " L".join(f"{x:g},{y:g}" for x, y in points)
        tip = ' marker-end="url(#tip)"' if arrow else ""
        self._shapes.append(f'<path d="M{path}" class="{kind}"{tip}/>')

    def append(self, other: "Canvas") -> None:
        """All that was drawn elsewhere, on top."""
        self._shapes += other._shapes

    def svg(self, width: float, height: float, *, title: str, description: str) -> str:
        """The whole file."""
        label = quoteattr(printable(title))
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" aria-label={label}>'
        )
        tip = (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" class="tip"/></marker></defs>'
        )
        return "\n".join(
            [
                head,
                f"<title>{_safe(title)}</title>",
                f"<desc>{_safe(description)}</desc>",
                f"<style>{STYLE}</style>",
                tip,
                f'<rect width="{width:g}" height="{height:g}" class="page"/>',
                *self._shapes,
                "</svg>\n",
            ]
        )


def _safe(words: str) -> str:
    return escape(printable(words))
