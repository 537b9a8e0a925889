"""Record finished experiments in results/ and show them in docs/papers-rerun.md.

    resnets experiment degradation CIFAR10_DIR --budget 60m
    python benchmarks/papers.py runs/degradation

A folder's figures become rows of results/degradation.csv (and degradation_signals.csv), table6.csv
or shortcuts.csv; the picture is copied to docs/pictures/ and the page's section is written anew.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import recording
from recording import append

from resnets.checkpoint import read_sealed
from resnets.config import TrainConfig
from resnets.experiments.running import Trial
from resnets.machine import processor

DOCS = Path(__file__).parent.parent / "docs"
TITLES = {
    "degradation": "Degradation: more layers do worse, unless there are shortcuts",
    "table6": "Table 6: 20 to 110 layers",
    "shortcuts": "Shortcuts at equal depth",
}
Rows = list[dict[str, str]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folders", nargs="+", type=Path, help="--out of `resnets experiment`")
    for folder in arguments.parse_args().folders:
        kind = next((kind for kind in TITLES if (folder / f"{kind}.csv").exists()), None)
        if kind is None:
            arguments.error(f"{folder} holds no finished experiment")
        record(kind, folder)


def record(kind: str, folder: Path) -> None:
    """The rows of one experiment, and its section of the page."""
    how = made_by(kind, folder)
    tables = {kind: read(folder / f"{kind}.csv")}
    if kind == "degradation":
        tables["degradation_signals"] = read(folder / "signals.csv")
    for table, rows in tables.items():
        if already(table, how):
            print(f"results/{table}.csv has these runs already")
            continue
        for row in rows:
            append(table, how | row)
    section = degradation(folder) if kind == "degradation" else errors(tables[kind])
    measured = (
        f"`{how['command']}`: {how['runs_in_all']} runs, {float(how['seconds']) / 60:,.0f} minutes "
        f"on {processor()}, {how['device']}, {how['precision']}."
    )
    write_section(kind, f"## {TITLES[kind]}\n\n{section}\n\n{measured}\n")


def made_by(kind: str, folder: Path) -> dict[str, Any]:
    """With which command, on what and in how long."""
    plan = json.loads((folder / "experiment.json").read_text())
    asked, rows = plan["asked"], read(folder / f"{kind}.csv")
    nets = list(dict.fromkeys(row["net"] for row in rows))
    shown = {Trial(net).name.rpartition("-seed")[0] for net in nets}
    runs = [run for run in sorted(folder.iterdir()) if run.name.rpartition("-seed")[0] in shown]
    models = [read_sealed(run).card for run in runs if (run / "model").exists()]
    cards = [card["training"] for card in models if card["training"]["finished"]]
    config = TrainConfig(**TrainConfig.keys_in(next(folder.glob("*/config.toml"))))
    seeds = len({card["seed"] for card in cards})
    options = {
        "degradation": f"--nets {','.join(nets)}",
        "table6": f"--nets {','.join(net.removeprefix('resnet') for net in nets)} --seeds {seeds}",
        "shortcuts": f"--layers {nets[0].removeprefix('resnet')} --seeds {seeds}",
    }
    recipe = asked["settings"]["recipe"]
    chosen = f" --recipe {recipe}" if recipe != "paper-cifar" else ""
    if kind == "degradation" and (seed := cards[0]["seed"]):
        chosen += f" --seed {seed}"
    if kind == "degradation" and (schedule := asked["settings"].get("schedule")):
        chosen += f" --schedule {schedule}"
    length = f" --budget {asked['budget']:g}s" if asked["budget"] else ""
    length += f" --epochs {asked['epochs']:g}" if asked["epochs"] else ""
    return {
        "command": f"resnets experiment {kind} CIFAR10_DIR {options[kind]}{chosen}{length}",
        "seeds": seeds,
        "runs_in_all": len(cards),
        "seconds": round(sum(card["seconds"] for card in cards), 1),
        "device": config.device,
        "threads": config.threads,
        "precision": config.precision,
    }


def already(table: str, how: dict[str, Any]) -> bool:
    """Whether rows of these very runs, by command and seconds, are in the table."""
    file = recording.RESULTS / f"{table}.csv"
    wanted = {name: str(how[name]) for name in ("command", "seconds")}
    return file.exists() and any(row.items() >= wanted.items() for row in read(file))


def degradation(folder: Path) -> str:
    """The paragraph, the picture, and each network's last row."""
    shutil.copy(folder / "degradation.svg", DOCS / "pictures" / "degradation.svg")
    last = {row["net"]: row for row in read(folder / "degradation.csv")}
    lines = [
        "| net | parameters | steps | training error | validation error | test error |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {net} | {int(row['parameters']):,} | {int(row['step']):,} | "
        + " | ".join(percent(row[name]) for name in ("train_error", "val_error", "test_error"))
        + " |"
        for net, row in last.items()
    ]
    words = (folder / "degradation.md").read_text().strip()
    picture = "![errors over steps and signals by layer](pictures/degradation.svg)"
    return "\n".join([words, "", picture, "", *lines])


def errors(rows: Rows) -> str:
    """A table of errors, ours beside the paper's, in percent."""
    lines = [
        "| net | | parameters | paper | test error | best | runs | steps |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        paper = percent(row["paper_error"])
        if row["paper_mean"]:
            paper += f" ({percent(row['paper_mean'])} ± {100 * float(row['paper_std']):.2f})"
        spread = f" ± {100 * float(row['error_std']):.2f}" if row["error_std"] else ""
        lines.append(
            f"| {row['net']} | {row['told']} | {int(row['parameters']):,} | {paper} | "
            f"{percent(row['error_mean'])}{spread} | {percent(row['error_best'])} | {row['runs']} "
            f"| {int(row['steps']):,} |"
        )
    return "\n".join(lines)


def write_section(kind: str, text: str) -> None:
    """Put a section between its two marks."""
    page = DOCS / "papers-rerun.md"
    before, begin, rest = page.read_text().partition(f"<!-- {kind} -->\n")
    _, end, after = rest.partition(f"<!-- /{kind} -->\n")
    assert begin and end, f"{page} has no marks for {kind}"
    page.write_text(before + begin + text + end + after)


def percent(share: str) -> str:
    return f"{100 * float(share):.2f}" if share else ""


def read(file: Path) -> Rows:
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


if __name__ == "__main__":
    main()
