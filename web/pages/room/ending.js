// The page that says why one is no longer in the room: a plain sentence and one button.
import { byId, setText } from "../page/dom.js";
import { words, wordsForCode } from "../text/words.js";

/** @typedef {"again" | "here" | "retry" | "start"} Way */

/** What the button does, by code; whatever is not here may be tried again. */
/** @type {Record<string, Way>} */
const WAYS = {
  left: "again",
  removed: "start",
  room_closed: "start",
  room_not_found: "start",
  duplicate_identity: "here",
  token_missing: "start",
  token_invalid: "start",
  token_expired: "start",
  permission_denied: "start",
  invalid_name: "start",
};

/** @param {string} code */
function titleOf(code) {
  const own = wordsForCode("end", `${code}_title`);
  if (own) return own;
  const token = code.startsWith("token_") || code === "permission_denied";
  return words(token ? "end.token_title" : "end.other_title");
}

/**
 * @param {string} code "left", one of the call's own, or the server's
 * @param {string} detail the server's words, for codes that we have none for
 * @param {() => void} enterAgain
 */
export function showEnding(code, detail, enterAgain) {
  const way = WAYS[code] ?? "retry";
  const title = byId("ending-title", HTMLElement);
  setText(title, titleOf(code));
  setText(
    byId("ending-text", HTMLElement),
    wordsForCode("end", code) ?? words("end.other", { detail: detail || code }),
  );
  const button = byId("ending-button", HTMLButtonElement);
  setText(button, words(`end.${way}`));
  button.onclick = () => (way === "start" ? location.assign("/") : enterAgain());
  byId("ending-page", HTMLElement).dataset["code"] = code;
  byId("ending-page", HTMLElement).hidden = false;
  title.focus();
}
