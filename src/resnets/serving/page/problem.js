/* What went wrong, in words that both languages have. */

/** Something to be told to the person: a key of ``words.js`` and its values. */
export class Problem extends Error {
  constructor(word, values = {}) {
    super(word);
    this.word = word;
    this.values = values;
  }
}

/** Any error as one that can be told. */
export function asProblem(error) {
  return error instanceof Problem ? error : new Problem("crashed", { reason: String(error) });
}
