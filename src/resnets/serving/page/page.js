/* The page: pictures come in, wait their turn, and are answered one after the other. */

import { connect } from "./backend.js";
import { showCard } from "./card.js";
import { by } from "./dom.js";
import { receive } from "./intake.js";
import { Problem, asProblem } from "./problem.js";
import { Result } from "./result.js";
import { speak, tell } from "./words.js";

const shown = new Set();
const queue = [];
let backend = null;
let answering = false;

function take(files) {
  const results = files.map((file) => new Result(file));
  for (const result of results) shown.add(result);
  queue.push(...results);
  by("results").prepend(...results.map((result) => result.element));
  by("answers").hidden = false;
  answerAll();
}

async function answerAll() {
  if (answering || backend === null) return;
  answering = true;
  while (queue.length) await queue.shift().answer(backend);
  answering = false;
}

function clear() {
  for (const result of shown) result.close();
  shown.clear();
  queue.length = 0;
  by("answers").hidden = true;
  by("choose").focus();
}

/* What happens before the first answer; a fraction fills the bar. */
function state(key, values, fraction) {
  const [words, bar] = by("state").children;
  tell(words, key, values);
  bar.hidden = fraction === undefined;
  bar.value = fraction ?? 0;
  by("state").hidden = false;
}

/* The token; a dialog that is left without one is an answer, too. */
function askToken({ wrong }) {
  const dialog = by("ask");
  tell(by("ask-title"), wrong ? "token-wrong" : "token-title");
  by("token").value = dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    const closed = () =>
      dialog.returnValue ? resolve(by("token").value) : reject(new Problem("no-token"));
    dialog.addEventListener("close", closed, { once: true });
  });
}

function chooseLanguage(options) {
  const { code, name } = speak(options);
  Object.assign(by("language"), { textContent: name, lang: code });
}

async function start() {
  by("starting").remove();
  chooseLanguage();
  by("language").addEventListener("click", () => chooseLanguage({ other: true }));
  by("clear").addEventListener("click", clear);
  receive(take);
  state("connecting");
  const place = (where) => tell(by("place"), where.word, where.values);
  try {
    backend = await connect({ askToken, loading: state, place, changed: showCard });
    place(backend.place);
    showCard(backend);
    by("state").hidden = true;
    answerAll();
  } catch (error) {
    const { word, values } = asProblem(error);
    state(word, values);
    by("state").className = "note";
  }
}

start();
