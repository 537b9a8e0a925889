/* One picture and what the model says of it. */

import { by, make, named } from "./dom.js";
import { evidence } from "./evidence.js";
import { Problem, asProblem } from "./problem.js";
import { tell, word } from "./words.js";

const SMALL = 64; // pixels, up to which single ones are shown

/** A picture on the page. ``answer`` asks for what is in it; ``close`` lets its memory go. */
export class Result {
  constructor(file) {
    this.file = file;
    this.address = URL.createObjectURL(file);
    this.picture = make("div", { className: "picture" }, this.image());
    this.said = make("div", { className: "said" });
    const name = make("p", { className: "file muted" }, named(file.name));
    const words = make("div", { className: "words" }, name, this.said);
    this.element = make("article", { aria: { label: file.name } }, this.picture, words);
    this.state("waiting");
  }

  image() {
    const image = make("img", { src: this.address, alt: this.file.name });
    image.addEventListener("load", () => {
      const small = Math.max(image.naturalWidth, image.naturalHeight) <= SMALL;
      this.picture.classList.toggle("small", small);
      this.picture.style.setProperty("--shape", image.naturalWidth / image.naturalHeight);
    });
    image.addEventListener("error", () => {
      image.replaceWith(tell(make("p", { className: "muted" }), "unseen-picture"));
    });
    return image;
  }

  /** Say what is going on. */
  state(key, values) {
    this.said.replaceChildren(tell(make("p", { className: "state muted" }), key, values));
  }

  async answer(backend) {
    this.state("looking");
    try {
      await refuseOthers(this.file);
      const waiting = (seconds) => this.state("busy", { seconds });
      this.show(await backend.predict(this.file, { waiting }), backend);
    } catch (error) {
      this.fail(asProblem(error), () => this.answer(backend));
    }
  }

  show({ predictions, unsure }, backend) {
    const [best] = predictions;
    const { label, probability } = best;
    const title = make("h3", {}, named(label));
    this.said.replaceChildren(title);
    if (unsure) {
      title.prepend(tell(make("small"), "perhaps"), " ");
      const values = { probability, threshold: backend.card.threshold };
      this.said.append(tell(make("p", { className: "note unsure" }), "unsure", values));
    }
    this.said.append(bars(predictions));
    if (backend.explains) this.said.append(evidence(this, label, backend));
    announce(unsure ? "answered-unsure" : "answered", { file: this.file.name, label, probability });
  }

  fail(problem, retry) {
    const button = tell(make("button", { type: "button", className: "quiet" }), "again");
    button.addEventListener("click", retry);
    const told = tell(make("p", { className: "note" }), problem.word, problem.values);
    this.said.replaceChildren(told, button);
    announce("failed", { file: this.file.name, problem });
  }

  close() {
    URL.revokeObjectURL(this.address);
    this.element.remove();
  }
}

/* Labels, bars and figures, the likeliest first. */
function bars(predictions) {
  const rows = predictions.map(({ label, probability }) => {
    const bar = make("span", { className: "bar", aria: { hidden: "true" } }, make("span"));
    bar.firstChild.style.width = `${100 * probability}%`;
    const figure = tell(make("span", { className: "figure" }), "sure", { probability });
    return make("li", {}, named(label), bar, figure);
  });
  return make("ol", { className: "bars" }, ...rows);
}

/* What is no picture, or has gone since it was chosen, is not sent anywhere. */
async function refuseOthers(file) {
  if (file.type && !file.type.startsWith("image/")) throw new Problem("no-picture");
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem("unreadable");
  }
}

function announce(key, values) {
  by("live").textContent = word(key, values);
}
