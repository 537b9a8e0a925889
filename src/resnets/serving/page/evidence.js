/* Where in a picture the evidence lies: heatmaps over it, their strength on a slider. */

import { make, named } from "./dom.js";
import { asProblem } from "./problem.js";
import { label as read, tell } from "./words.js";

const STRENGTH = 70; // percent
let groups = 0;

/** A button that fetches the heatmaps of the answer and of the runner-up, then their controls. */
export function evidence(result, label, backend) {
  const place = make("div", { className: "evidence" });
  const button = tell(make("button", { type: "button", className: "quiet" }), "evidence");
  button.addEventListener("click", () => fetchMaps(place, result, label, backend));
  place.append(button);
  return place;
}

async function fetchMaps(place, result, label, backend) {
  const state = tell(make("p", { className: "state muted", role: "status" }), "finding");
  place.replaceChildren(state);
  try {
    const waiting = (seconds) => tell(state, "busy", { seconds });
    const maps = await backend.explain(result.file, label, { waiting });
    if (maps === null) place.remove();
    else showMaps(place, result.picture, maps);
  } catch (error) {
    const problem = asProblem(error);
    place.replaceChildren(tell(make("p", { className: "note" }), "no-evidence", { problem }));
  }
}

function showMaps(place, picture, maps) {
  const overlay = make("img", { className: "map" });
  const faithful = make("p", { className: "muted small-print" });
  const choose = (map) => {
    overlay.src = `data:image/png;base64,${map.png}`;
    read(overlay, "alt", "map-of", map);
    tell(faithful, "faithful", map);
  };
  const slider = make("input", { type: "range", min: 0, max: 100, value: STRENGTH });
  const fade = () => (overlay.style.opacity = slider.value / 100);
  slider.addEventListener("input", fade);
  fade();
  const strength = make("label", { className: "strength" }, tell(make("span"), "strength"), slider);
  picture.append(overlay);
  const choices = switches(maps, choose);
  place.replaceChildren(choices, strength, faithful);
  choices.querySelector("input").focus(); // the button that had it is gone
}

/* One radio button for each map. */
function switches(maps, choose) {
  const name = `evidence-${(groups += 1)}`;
  const choices = maps.map((map, index) => {
    const button = make("input", { type: "radio", name, checked: index === 0 });
    button.addEventListener("change", () => choose(map));
    return make("label", {}, button, named(map.label));
  });
  choose(maps[0]);
  return make("fieldset", {}, tell(make("legend"), "evidence-for"), ...choices);
}
