"""What the data doctor found."""

import sys

from resnets.console.text import Told, console_for, print_table, printable, say

FIRST = 10
"""So many paths of a finding are printed; all are in ``--json``."""


def show_findings(findings: Told) -> None:
    """Print what the data is, each finding with its first paths, and what was not checked."""
    values = findings.to_dict()
    console = console_for(sys.stdout)
    images = ", ".join(f"{count:,} {part}" for part, count in values["images"].items())
    say(f"{printable(values['source'])}: {values['classes']:,} classes; images: {images}")
    if values["sides"]:
        least, median, most = values["sides"]
        counts = [*values["formats"].items(), *values["modes"].items()]
        kinds = ", ".join(f"{name} ({count:,})" for name, count in counts)
        say(f"sides of {least:,} to {most:,} pixels, half of them up to {median:,}; {kinds}")
    rows = [
        [each["kind"], f"{each['count']:,}", each["weight"], each["what"]]
        for each in values["findings"]
    ]
    print_table(console, "findings", ["kind", ">images", "a run", "what"], rows)
    for each in values["findings"]:
        say(printable(f"{each['kind']}: {each['effect']}"))
        for item in each["items"][:FIRST]:
            note = f"  ({item['note']})" if item["note"] else ""
            say(printable(f"  {' = '.join(item['paths'])}{note}"))
        if len(each["items"]) > FIRST:
            say(f"  and {len(each['items']) - FIRST:,} more, all of them in --json")
        say(printable(f"  fix: {each['fix']}"))
    for sentence in values["unchecked"]:
        say(sentence)
    if not values["findings"]:
        say("nothing is the matter")
