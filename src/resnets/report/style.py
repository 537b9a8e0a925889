"""How a report looks: light and dark, from a phone to a wide screen."""

LINES = ("#2563eb", "#c2410c", "#15803d", "#9333ea", "#b45309", "#0e7490")
"""The colours of lines on a light page."""

_NUMBERED = " ".join(f"--c{number}: {colour};" for number, colour in enumerate(LINES))
COLOURS = f"""
:root {{ --page: #fff; --ink: #1f2328; --muted: #59636e; --rule: #d5dae0; --card: #f4f6f8;
  {_NUMBERED}
  --heat: 37, 99, 235; --wrong: 194, 65, 12; }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #0d1117; --ink: #e6edf3; --muted: #9aa4ae;
  --rule: #30363d; --card: #161b22; --c0: #5c9dff; --c1: #ff9b62; --c2: #4ac26b; --c3: #c297ff;
  --c4: #e0a048; --c5: #4cc4dc; --heat: 92, 157, 255; --wrong: 255, 155, 98; }} }}
"""
CHART = """
svg text { fill: var(--muted); font: 12px system-ui, sans-serif }
.grid { stroke: var(--rule); stroke-width: .7; fill: none }
.diagonal { stroke: var(--muted); stroke-dasharray: 4 4; fill: none }
.mark { stroke: var(--c1); stroke-dasharray: 2 3; fill: none }
.line { fill: none; stroke-width: 2; stroke: var(--c) } .dot { fill: var(--c) }
.band { fill: var(--c); opacity: .15 }
.c0 { --c: var(--c0) } .c1 { --c: var(--c1) } .c2 { --c: var(--c2) }
.c3 { --c: var(--c3) } .c4 { --c: var(--c4) } .c5 { --c: var(--c5) }
.dashed { stroke-dasharray: 5 3; stroke-width: 1.5 }
"""
"""What charts need, in a page or in a file of their own."""

STYLE = (
    f"{COLOURS}{CHART}"
    + """
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1000px; padding: 1rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif }
h1 { font-size: 1.6rem; margin: .5rem 0 0; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; border-bottom: 1px solid var(--rule) }
p { margin: .4rem 0 } .muted, figcaption small { color: var(--muted) }
a { color: var(--c0) } code, pre { font-family: ui-monospace, monospace; font-size: .88em }
pre { background: var(--card); padding: .7rem; overflow-x: auto; border-radius: 6px }
.cards { display: grid; gap: .7rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)) }
.cards div { background: var(--card); border-radius: 8px; padding: .6rem .8rem }
.cards b { display: block; font-size: 1.5rem }
.cards span { color: var(--muted); font-size: .85rem }
.note { border-left: 3px solid var(--c1); padding: .1rem .7rem; margin: .5rem 0;
  overflow-wrap: anywhere }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)) }
figure { margin: 0 } .chart figcaption { font-weight: 600; font-size: .92rem }
svg { width: 100%; height: auto; display: block }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem }
.key i { display: inline-block; width: 1em; height: .25em; margin: 0 .4em .2em 0;
  background: var(--c) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0 }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap }
th { font-weight: 600; border-bottom: 1px solid var(--rule) }
th:first-child, td:first-child { text-align: left }
td.words { text-align: left; white-space: normal; overflow-wrap: anywhere }
.bar { width: 90px; height: 10px; display: inline-block } .track { fill: var(--rule) }
.fill { fill: var(--c0) } .whisker { stroke: var(--ink); stroke-width: 2; fill: none }
.matrix td, .matrix th { text-align: center; min-width: 2.4em; border: 1px solid var(--page) }
.matrix th:first-child { text-align: left }
.heat { background: rgba(var(--heat), var(--share)) }
.heat.wrong { background: rgba(var(--wrong), var(--share)) }
.pictures { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)) }
.pictures img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--card);
  border-radius: 4px } .small img { image-rendering: pixelated }
.pictures figcaption { font-size: .78rem; line-height: 1.3; overflow-wrap: anywhere }
.samples { grid-template-columns: repeat(auto-fill, minmax(84px, 1fr)) }
"""
)
