// What all pages share: words, icons, the switches for theme and language, soft notices.
import { language, rememberLanguage, translatePage } from "../text/words.js";
import { make } from "./dom.js";
import { fillIcons } from "./icons.js";

const NOTICE_MS = 6_000;
const MOST_NOTICES = 4;

/** Call first on every page. */
export function preparePage() {
  translatePage();
  fillIcons();
  document.getElementById("theme")?.addEventListener("click", switchTheme);
  document.getElementById("language")?.addEventListener("click", () => {
    rememberLanguage(language === "zh" ? "en" : "zh");
    location.reload();
  });
}

/**
 * Call when the page listens. Until then its forms' buttons are disabled: pressed before, they would
 * send the form the old way, to nowhere.
 */
export function pageReady() {
  for (const button of document.querySelectorAll("[data-ready]")) {
    button.removeAttribute("disabled");
  }
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset["theme"]
    ? root.dataset["theme"] === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset["theme"] = dark ? "light" : "dark";
  localStorage.setItem("tertulia.theme", root.dataset["theme"]);
}

/**
 * Show *text* for a while; screen readers say it when they are done with what they say.
 * @param {string} text
 */
export function notice(text) {
  const list = document.getElementById("notices");
  if (!list) return;
  while (list.children.length >= MOST_NOTICES) list.firstElementChild?.remove();
  const line = make("p", { class: "notice", "data-testid": "notice" }, text);
  list.append(line);
  setTimeout(() => line.remove(), NOTICE_MS);
}
