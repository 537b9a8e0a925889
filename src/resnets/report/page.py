"""The page of one run: its facts, section by section, in the order in which people ask."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resnets.console import percent
from resnets.console.scores import headline, headlines
from resnets.pages import page, text, thumbnail
from resnets.report.charts import Axis, Line, bar, chart
from resnets.report.charts import percent as as_percent
from resnets.report.facts import RunFacts
from resnets.report.style import STYLE

SIDE = 200
"""Of a picture, in pixels."""
MATRIX_CLASSES = 30
"""With more classes the confusion matrix gives way to the most confused pairs."""
PAIRS = 20
LONG = 160
"""Characters of a note."""

Picture = Callable[[str], np.ndarray | None]
"""The pixels of an image by its name; ``None`` where it is gone."""


def run_page(
    run: RunFacts, facts: dict[str, Any], picture: Picture, samples: Sequence[np.ndarray]
) -> str:
    """The whole file.

    Args:
        facts: of ``facts_of``; written into the page too, for programs.
        samples: (H, W, 3) uint8, training images as the network saw them.
    """
    sections = [
        _head(run, facts),
        _curves(facts),
        _scores(facts),
        _classes(facts),
        _confusion(facts),
        _confidence(facts),
        _pictures("The most confident mistakes", facts["mistakes"], picture),
        _pictures("The least certain answers", facts["least_certain"], picture),
        _samples(samples),
        _data(run),
        _again(run),
    ]
    held = json.dumps(facts, ensure_ascii=True).replace("<", "\\u003c")
    data = f'<script type="application/json" id="facts">{held}</script>'
    return page(f"{run.name}: report", STYLE, "".join(sections) + data)


def curve_charts(runs: Sequence[tuple[str, list[dict[str, Any]]]]) -> str:
    """Loss, accuracy and learning rate over the epochs, of one run or several."""
    alone = len(runs) == 1
    kinds = [
        ("loss", "loss", (("train_loss", "training"), ("val_loss", "validation")), None),
        (
            "accuracy",
            "accuracy",
            (("train_accuracy", "training, augmented"), ("val_accuracy", "validation")),
            as_percent,
        ),
        ("learning rate", "rate", (("learning_rate", ""),), None),
    ]
    drawn = []
    for title, axis, columns, show in kinds:
        lines = []
        for number, (name, rows) in enumerate(runs):
            for place, (column, told) in enumerate(columns if alone else columns[-1:]):
                points = [(row["epoch"], row[column]) for row in rows if row[column] is not None]
                if points:
                    lines.append(Line(told if alone else name, points, place if alone else number))
        if not lines:
            continue
        values = [y for line in lines for _, y in line.points]
        y = Axis.around(axis, values, **({"show": show} if show else {}))
        x = Axis.around("epoch", [x for line in lines for x, _ in line.points])
        full = title if alone or title == "learning rate" else f"validation {title}"
        drawn.append(chart(full, lines, x, y))
    return f'<div class="charts">{"".join(drawn)}</div>'


def _head(run: RunFacts, facts: dict[str, Any]) -> str:
    scores, training = facts["scores"], run.card["training"]
    value, interval = headline(scores["accuracy"], True)
    cards = [
        (value, f"accuracy on {facts['split']}, {interval} (95 %)"),
        (f"{scores['n']:,}", f"images of {facts['split']}"),
        (text(run.config.model), f"at {run.config.image_size} pixels"),
        (f"{training['seconds'] / 60:.1f} min", f"{training['steps']:,} steps"),
    ]
    shown = "".join(f"<div><b>{big}</b><span>{small}</span></div>" for big, small in cards)
    notes = "".join(map(_note, run.card["scores"]["notes"]))
    return (
        f"<h1>{text(run.name)}</h1><p class='muted'>{text(facts['data'])}: "
        f"{len(facts['classes']):,} classes</p><div class='cards'>{shown}</div>{notes}"
    )


def _note(note: str) -> str:
    """A note; of a long one the beginning, and the rest on demand."""
    first, bracket, rest = note.partition(" (")
    if len(note) < LONG or not bracket:
        return f'<p class="note">{text(note)}</p>'
    return f'<details class="note"><summary>{text(first)}</summary>{text(bracket + rest)}</details>'


def _curves(facts: dict[str, Any]) -> str:
    return "<h2>How it learned</h2>" + curve_charts([("", facts["curves"])])


def _scores(facts: dict[str, Any]) -> str:
    heads = ["", "value", "95 % interval", "by", "images"]
    return f"<h2>Scores on {text(facts['split'])}</h2>" + table(heads, headlines(facts["scores"]))


def _classes(facts: dict[str, Any]) -> str:
    def cell(share: dict[str, float] | None) -> str:
        if share is None:
            return "none"
        low, high = 100 * share["low"], 100 * share["high"]
        return f"{percent(share['value'])} <span class='muted'>{low:.0f}-{high:.0f}</span>"

    rows = []
    for name, row, score in zip(
        facts["classes"], facts["per_class"], facts["scores"]["per_class"], strict=True
    ):
        recall = row["recall"]
        drawn = bar(recall["value"], recall["low"], recall["high"]) if recall else ""
        rows.append(
            [
                text(name),
                drawn,
                cell(recall),
                cell(row["precision"]),
                percent(score["f1"]),
                f"{score['support']:,}",
            ]
        )
    heads = ["class", "", "recall", "precision", "F1", "images"]
    return (
        "<h2>Each class</h2><p class='muted'>Recall: of the images of a class, how many were "
        "called so. Precision: of those called so, how many are. Small figures and whiskers: "
        "95 % intervals (Wilson).</p>" + table(heads, rows)
    )


def _confusion(facts: dict[str, Any]) -> str:
    counts, classes = np.asarray(facts["scores"]["confusion"]), facts["classes"]
    if len(classes) > MATRIX_CLASSES:
        off = counts - np.diag(np.diagonal(counts))
        order = np.argsort(-off, axis=None, kind="stable")[:PAIRS]
        pairs = [np.unravel_index(index, off.shape) for index in order]
        rows = [
            [text(classes[i]), text(classes[j]), f"{off[i, j]:,}"] for i, j in pairs if off[i, j]
        ]
        return "<h2>Most confused</h2>" + table(["true class", "answer", "images"], rows)
    heads = "".join(f"<th>{index + 1}</th>" for index in range(len(classes)))
    body = []
    for i, name in enumerate(classes):
        total = max(1, counts[i].sum())
        cells = "".join(
            f'<td class="heat{"" if i == j else " wrong"}" '
            f'style="--share:{0.85 * count / total:.3f}">{count or ""}</td>'
            for j, count in enumerate(counts[i].tolist())
        )
        body.append(f"<tr><th>{i + 1} {text(name)}</th>{cells}</tr>")
    return (
        "<h2>What was taken for what</h2><p class='muted'>Images by true class (rows) and answer "
        "(columns); the shade is the share of the row.</p><div class='scroll'>"
        f"<table class='matrix'><tr><th></th>{heads}</tr>{''.join(body)}</table></div>"
    )


def _confidence(facts: dict[str, Any]) -> str:
    calibration = facts["calibration"]
    kinds = [("calibrated", 0), ("as trained", 1)] if calibration else [("as trained", 0)]
    bins = facts["reliability"]
    lines = [
        Line(
            kind,
            [(each["probability"], each["accuracy"]) for each in bins[kind]],
            colour,
            dots=True,
            band=[(b["probability"], b["low"], b["high"]) for b in bins[kind]]
            if not colour
            else (),
        )
        for kind, colour in kinds
    ]
    reliability = chart(
        "Right as often as it says?",
        lines,
        Axis("probability of the answer", 0, 1, as_percent),
        Axis("right", 0, 1, as_percent),
        diagonal=True,
    )
    points = facts["coverage"]
    highest = max(0.02, *(point["error"] for point in points)) * 1.4
    chosen = facts["scores"]["selective"]
    curve = chart(
        "Errors among the surest answers",
        [
            Line(
                "wrong among the answers that are given",
                [(p["coverage"], p["error"]) for p in points],
                band=[(p["coverage"], p["low"], min(p["high"], highest)) for p in points],
            )
        ],
        Axis("answered", 0, 1, as_percent),
        Axis("wrong", 0, highest, as_percent),
        marks=[(chosen["coverage"]["value"], "the rest is unsure")] if chosen else (),
    )
    return (
        "<h2>How far it can be trusted</h2>"
        f'<div class="charts">{reliability}{curve}</div>{_calibrated(facts)}'
    )


def _calibrated(facts: dict[str, Any]) -> str:
    calibration, chosen = facts["calibration"], facts["scores"]["selective"]
    if not calibration:
        return "<p>Not calibrated: there were no validation images. `resnets calibrate`</p>"
    loss, error = calibration["log_loss"], calibration["calibration_error"]
    told = [
        f"Temperature {calibration['temperature']:.3f}, fitted on {calibration['n']:,} images of "
        f"{text(calibration['split'])}. There log loss went from {loss[0]:.3f} to {loss[1]:.3f} "
        f"and calibration error from {percent(error[0])} to {percent(error[1])}."
    ]
    if chosen:
        wrong = chosen["error"]
        told.append(
            f"Answers below {percent(chosen['threshold'])} are called unsure, for an error of "
            f"{percent(calibration['target_error'])} on {text(calibration['split'])}. On "
            f"{text(facts['split'])} {percent(chosen['coverage']['value'])} are answered"
            + (
                f", and {percent(wrong['value'])} of these are wrong "
                f"({100 * wrong['low']:.1f} to {100 * wrong['high']:.1f} %)."
                if wrong
                else "."
            )
        )
    told += [text(note) for note in calibration["notes"]]
    return "".join(f"<p>{sentence}</p>" for sentence in told)


def _pictures(title: str, rows: list[dict[str, Any]], picture: Picture) -> str:
    if not rows:
        return ""
    figures, gone, small = [], 0, True
    for row in rows:
        pixels = picture(row["name"])
        gone += pixels is None
        shown = "" if pixels is None else thumbnail(pixels, SIDE, alt=row["name"])
        small &= pixels is None or max(pixels.shape[:2]) <= 64
        answers = ", ".join(
            f"{text(each['label'])} {percent(each['probability'])}" for each in row["answers"]
        )
        figures.append(
            f"<figure>{shown}<figcaption><b>{text(row['label'])}</b> answered {answers}"
            f"<br><small>{text(row['name'])}</small></figcaption></figure>"
        )
    missing = f"<p class='note'>{gone} of these pictures cannot be read any more</p>" * bool(gone)
    kind = "pictures small" if small else "pictures"
    return f"<h2>{title}</h2>{missing}<div class='{kind}'>{''.join(figures)}</div>"


def _samples(samples: Sequence[np.ndarray]) -> str:
    if not len(samples):
        return ""
    small = " small" if max(samples[0].shape[:2]) <= 64 else ""
    shown = "".join(f"<figure>{thumbnail(sample, SIDE)}</figure>" for sample in samples)
    return (
        "<h2>Training images as the network saw them</h2><p class='muted'>The first batch, "
        f"augmented.</p><div class='pictures samples{small}'>{shown}</div>"
    )


def _data(run: RunFacts) -> str:
    manifest = run.manifest
    names = list(manifest["splits"])
    rows = [
        [text(label), *(f"{manifest['splits'][part]['per_class'][label]:,}" for part in names)]
        for label in manifest["classes"]
    ]
    rows.append(["all", *(f"{manifest['splits'][part]['count']:,}" for part in names)])
    findings = "".join(
        f"<li>{text(found['kind'])}: {text(found['what'])}</li>"
        for found in manifest.get("findings", ())
    )
    left_out = "".join(
        f"<li>{text(item['path'])}: {text(item['reason'])}</li>"
        for item in manifest["left_out"][:50]
    )
    found = f"<ul>{findings}</ul>" if findings else "<p>Nothing was found.</p>"
    gone = f"<h3>Left out</h3><ul>{left_out}</ul>" if left_out else ""
    return (
        f"<h2>The data</h2>{table(['images', *names], rows)}<h3>What the check of the data found"
        f"</h3>{found}{gone}"
    )


def _again(run: RunFacts) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in run.card["versions"].items())
    return (
        "<h2>To repeat it</h2>"
        f"<pre>resnets train --config {text(str(run.path / 'config.toml'))} --out runs/again</pre>"
        f"<p class='muted'>{text(versions)}</p><details><summary>every setting</summary>"
        f"<pre>{text_lines(run.config.to_toml())}</pre></details>"
    )


def text_lines(words: str) -> str:
    """Text of several lines, each escaped."""
    return "\n".join(map(text, words.splitlines()))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of HTML below heads of text."""
    head = "".join(f"<th>{text(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>"
