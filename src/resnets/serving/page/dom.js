/* Elements made without HTML: names and labels of others are text, whatever they hold. */

/** An element with these properties and children; strings become text. */
export function make(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, ...plain } = properties;
  const element = Object.assign(document.createElement(tag), plain);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

/** A name from elsewhere, whose direction of writing stays its own. */
export function named(text) {
  return make("bdi", { textContent: text });
}

/** The one element with this id. */
export function by(id) {
  return document.getElementById(id);
}
