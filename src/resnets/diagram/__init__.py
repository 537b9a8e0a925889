"""A network as a picture: stem, stages, blocks and shortcuts, from top to bottom, as SVG.

What is drawn comes from the network's run, so a line is there because numbers went that way.
"""

from resnets.description import Description
from resnets.diagram.flow import Flow, Stage, Step, stages_of
from resnets.diagram.svg import Canvas

__all__ = ["draw"]

WIDTH = 900
MIDDLE = 480
"""The x of the way from the input to the logits."""
BOX, GAP = 26, 18
"""Height of a box, and what is between two."""
SINGLE, COLUMNS = 210, 560
"""Widths: of a box alone, and of all columns where branches run in parallel."""
SHORTCUT = MIDDLE + SINGLE / 2 + 34
MERGE = {"+": 24, "mix": 44, "concat": 64}
"""Width of the mark where branches meet."""


def draw(description: Description) -> str:
    """The network as one SVG file; blocks that repeat are drawn once, with how often."""
    picture = Picture()
    picture.head(description)
    for stage in stages_of(description.network, description.cost):
        picture.stage(stage)
    return picture.finish(description)


class Picture:
    """A drawing that grows downwards."""

    def __init__(self) -> None:
        self.canvas = Canvas()
        self.y = self.bottom = 0.0
        """Of the last thing drawn, and of what is around it."""
        self.identity = self.changed = False
        """Whether such shortcuts were drawn, and need a word below."""

    def head(self, description: Description) -> None:
        """The title, what it costs, and the input."""
        cost = description.cost
        self.canvas.text(24, 38, description.name, "title")
        self.canvas.text(24, 60, f"{description.spec.family}, {description.spec.source}", "muted")
        totals = f"{cost.parameters:,} parameters, {cost.multiply_adds:,} multiply-adds"
        self.canvas.text(24, 78, totals, "muted")
        self.canvas.text(MIDDLE, 112, f"input {_shape(cost.input_size)}", "name", "middle")
        self.y = self.bottom = 120

    def stage(self, stage: Stage) -> None:
        """A band with the stage's blocks, and beside them what they put out and cost."""
        top = self.bottom + 14
        words = [(_shape(stage.output_shape), "")]
        for count, what in stage.costs:
            words += [(f"{_short(count)} {what}", "small muted")] if count else []
        self.space(top - self.y)
        outside, self.canvas = self.canvas, Canvas()  # the band lies below its blocks
        for flow, times in stage.flows:
            self.flow(flow, times)
        inside, self.canvas = self.canvas, outside
        self.bottom = max(self.y + 12, top + 34 + 16 * len(words))
        self.canvas.box(12, top, WIDTH - 24, self.bottom - top, "stage")
        self.canvas.append(inside)
        self.canvas.text(24, top + 22, stage.name, "name")
        for number, (line, kind) in enumerate(words):
            self.canvas.text(24, top + 40 + 16 * number, line, kind)

    def flow(self, flow: Flow, times: int) -> None:
        """One block, framed where it repeats."""
        self.space(10)
        top = self.y
        if flow.has_shortcut:
            self.shortcut(flow)
        elif len(flow.branches) > 1:
            self.columns(flow)
        else:
            self.steps(flow.branches[0])
        self.steps(flow.tail)
        if times > 1:
            self.space(6)
            left = MIDDLE - (COLUMNS if not flow.has_shortcut and flow.merge else SINGLE + 40) / 2
            self.canvas.box(left, top, WIDTH - 80 - left, self.y - top, "repeat")
            self.canvas.text(WIDTH - 72, (top + self.y) / 2 + 6, f"x {times}", "times")

    def space(self, height: float) -> None:
        """The way goes on."""
        self.canvas.line((MIDDLE, self.y), (MIDDLE, self.y + height))
        self.y += height

    def steps(self, steps: tuple[Step, ...]) -> None:
        """Boxes one below the other."""
        self.y = self.chain(steps, MIDDLE, self.y, SINGLE)

    def chain(self, steps: tuple[Step, ...], x: float, y: float, width: float) -> float:
        """Boxes around x, from y on; returns where they end."""
        for step in steps:
            self.canvas.line((x, y), (x, y + GAP), arrow=True)
            self.canvas.box(x - width / 2, y + GAP, width, BOX, step.kind)
            size = "" if width > 150 else "small"
            self.canvas.text(x, y + GAP + BOX / 2 + 4, step.label, size, "middle")
            y += GAP + BOX
        return y

    def shortcut(self, flow: Flow) -> None:
        """A branch of boxes, and beside it a line: solid for the input itself."""
        main, beside = flow.branches
        self.space(8)
        top = self.y
        self.steps(main)
        self.merge(flow.merge)
        bottom = self.y - BOX / 2
        kind = "line changed" if beside else "line"
        corners = [(MIDDLE, top), (SHORTCUT, top), (SHORTCUT, bottom)]
        end = (MIDDLE + MERGE[flow.merge] / 2, bottom)
        self.canvas.line(*corners, end, arrow=True, kind=kind)
        labels = [step.label for step in beside] or ["identity"]
        for index, label in enumerate(labels):
            y = (top + bottom) / 2 + 4 + 15 * (index - (len(labels) - 1) / 2)
            self.canvas.text(SHORTCUT + 8, y, label, "small" if beside else "small muted")
        self.changed |= bool(beside)
        self.identity |= not beside

    def columns(self, flow: Flow) -> None:
        """Branches side by side."""
        pitch = COLUMNS / len(flow.branches)
        width = min(pitch - 12, SINGLE)
        self.space(8)
        top, ends = self.y, []
        for index, branch in enumerate(flow.branches):
            x = MIDDLE + pitch * (index - (len(flow.branches) - 1) / 2)
            self.canvas.line((MIDDLE, top), (x, top))
            ends.append((x, self.chain(branch, x, top, width)))
            if not branch:
                self.canvas.text(x + 8, top + GAP + BOX / 2, "identity", "small muted")
        bottom = max(y for _, y in ends) + 10
        for x, y in ends:
            self.canvas.line((x, y), (x, bottom), (MIDDLE, bottom))
        self.y = bottom
        self.merge(flow.merge)

    def merge(self, mark: str) -> None:
        """Where branches meet."""
        self.canvas.line((MIDDLE, self.y), (MIDDLE, self.y + GAP), arrow=True)
        self.canvas.box(MIDDLE - MERGE[mark] / 2, self.y + GAP, MERGE[mark], BOX - 2, "merge")
        self.canvas.text(MIDDLE, self.y + GAP + BOX / 2 + 4, mark, "", "middle")
        self.y += GAP + BOX - 1

    def finish(self, description: Description) -> str:
        """Say what the lines mean, and close the file."""
        words = []
        if self.identity:
            words.append("solid shortcut: identity")
        if self.changed:
            words.append("dashed shortcut: projection or padding")
        words.append("normalisation and activation are not drawn")
        self.canvas.text(24, self.bottom + 30, "; ".join(words), "small muted")
        return self.canvas.svg(
            WIDTH,
            self.bottom + 48,
            title=description.name,
            description=f"{description.spec.family}, {description.spec.source}",
        )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _short(count: int) -> str:
    """Three digits of a number.

    >>> _short(25_557_032), _short(840)
    ('25.6 M', '840')
    """
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
