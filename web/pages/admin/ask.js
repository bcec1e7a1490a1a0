// Actions ask once.
import { byId, setText } from "../page/dom.js";

/**
 * @param {string} question
 * @returns {Promise<boolean>}
 */
export function ask(question) {
  const dialog = byId("ask", HTMLDialogElement);
  setText(byId("ask-text", HTMLElement), question);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
