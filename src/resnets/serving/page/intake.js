/* How pictures come in: chosen, photographed, dropped anywhere, pasted. */

import { by } from "./dom.js";

/** Call ``take`` with every batch of files. */
export function receive(take) {
  for (const [button, input] of [["choose", "files"], ["photograph", "camera"]]) {
    by(button).addEventListener("click", () => by(input).click());
    by(input).addEventListener("change", () => {
      take([...by(input).files]);
      by(input).value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
  watchDrops(take);
}

function watchDrops(take) {
  let inside = 0; // elements under the pointer that were entered and not left
  const mark = () => by("intake").classList.toggle("dragged", inside > 0);
  const withFiles = (handle) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    handle(event);
    mark();
  };
  document.addEventListener("dragenter", withFiles(() => (inside += 1)));
  document.addEventListener("dragleave", withFiles(() => (inside -= 1)));
  document.addEventListener("dragover", withFiles((event) => {
    event.dataTransfer.dropEffect = "copy";
  }));
  document.addEventListener("drop", withFiles((event) => {
    inside = 0;
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  }));
}
