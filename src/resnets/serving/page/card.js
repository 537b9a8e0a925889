/* The model, as its card tells it. */

import { by, make, named } from "./dom.js";
import { tell } from "./words.js";

const SHOWN = 6; // names in the sentence at the top
const LISTED = 60; // names in the card before the rest is folded away

/** Fill the sentence at the top and the section at the end. */
export function showCard({ card, sha, report }) {
  const names = card.label_names;
  const more = names.length - SHOWN;
  if (more > 1) tell(by("classes"), "classes-more", { names: names.slice(0, SHOWN), more });
  else tell(by("classes"), "classes", { names });
  document.title = `${card.architecture}: resnets`;
  const parts = [figures(card), details(card, sha)];
  if (report) parts.push(make("p", {}, tell(make("a", { href: report }), "report")));
  by("card").replaceChildren(...parts);
  by("model").hidden = false;
}

/* The few figures that people ask for first. */
function figures(card) {
  const [, height, width] = card.preprocess.input_size;
  const cells = [cell(card.architecture, ["network"], ["network-more", { width, height }])];
  const { accuracy, split, data, n } = card.scores ?? {};
  if (accuracy) {
    cells.push(
      cell({ word: "sure", values: { probability: accuracy.value } }, ["right", { split }], ["right-more", accuracy]),
      cell({ word: "count", values: { n } }, ["images", { split }], ["images-more", { data }]),
    );
  }
  if (card.threshold != null) {
    const value = { word: "sure", values: { probability: card.threshold } };
    cells.push(cell(value, ["threshold"], ["threshold-more"]));
  }
  return make("div", { className: "cards" }, ...cells);
}

function cell(big, what, more) {
  const value = make("b");
  if (typeof big === "string") value.append(named(big));
  else tell(value, big.word, big.values);
  return make("div", {}, value, tell(make("span"), ...what), tell(make("small"), ...more));
}

function details(card, sha) {
  const list = make("dl");
  const row = (key, values, ...parts) =>
    list.append(tell(make("dt"), key, values), make("dd", {}, ...parts));
  row("class-names", { count: card.label_names.length }, classes(card.label_names));
  row("preprocessing", {}, ...preprocessing(card.preprocess));
  const calibrated = (card.temperature ?? 1) !== 1;
  row("temperature", {}, calibrated ? card.temperature.toFixed(3) : tell(make("span"), "not-calibrated"));
  if (sha) row("fingerprint", {}, make("code", { textContent: sha }));
  return list;
}

function classes(names) {
  const chips = (some) =>
    make("ul", { className: "chips" }, ...some.map((name) => make("li", {}, named(name))));
  const all = make("div", {}, chips(names.slice(0, LISTED)));
  const rest = names.slice(LISTED);
  if (rest.length) {
    const summary = tell(make("summary"), "more", { more: rest.length });
    all.append(make("details", {}, summary, chips(rest)));
  }
  return all;
}

/* One line for each thing that is done to a picture. */
function preprocessing(how) {
  const [channels, height, width] = how.input_size;
  const { interpolation, mean, std } = how;
  const crop = { word: `crop-${how.crop_mode}`, values: { share: 100 * how.crop_pct } };
  const steps = [["resized", { interpolation, width, height, crop }]];
  if (channels === 1) steps.push(["grey"]);
  steps.push(["normalised", { mean: mean.join(" "), std: std.join(" ") }]);
  if (how.mean_image) steps.push(["mean-image"]);
  steps.push(["background", { colour: `rgb(${how.background.join(", ")})` }]);
  return steps.map((step) => tell(make("p"), ...step));
}
