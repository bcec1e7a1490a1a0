// The words of the pages in the person's language. All of them stand in english.js and chinese.js;
// `{name}` in a text is filled in.
import { CHINESE } from "./chinese.js";
import { ENGLISH } from "./english.js";

/** @typedef {keyof typeof ENGLISH} WordKey */
/** @typedef {"en" | "zh"} Language */

const MEMORY = "tertulia.language";
/** @type {Record<Language, Record<WordKey, string>>} */
const TEXTS = { en: ENGLISH, zh: CHINESE };

/** @returns {Language} the chosen one, else the browser's, else English */
function firstLanguage() {
  const chosen = localStorage.getItem(MEMORY);
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.languages.find((l) => /^(en|zh)\b/i.test(l))?.slice(0, 2) === "zh" ? "zh" : "en";
}

/** @type {Language} */
export const language = firstLanguage();

/** @param {Language} next takes effect when the page is loaded again */
export function rememberLanguage(next) {
  localStorage.setItem(MEMORY, next);
}

/**
 * @param {WordKey} key
 * @param {Record<string, string | number>} [values]
 */
export function words(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (all, name) => String(values[name] ?? all));
}

/**
 * The words for a code that the server may add to at any time.
 * @param {string} prefix
 * @param {string} code
 * @returns {string | null} null: we have none
 */
export function wordsForCode(prefix, code) {
  const dotted = `${prefix}.${code}`;
  const key = Object.hasOwn(ENGLISH, dotted) ? dotted : `${prefix}_${code}`;
  return Object.hasOwn(ENGLISH, key) ? words(/** @type {WordKey} */ (key)) : null;
}

/** Fill in what the HTML marks: data-words (text), data-words-label and data-words-title. */
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-words]")) {
    element.textContent = words(/** @type {WordKey} */ (element.getAttribute("data-words")));
  }
  for (const element of document.querySelectorAll("[data-words-label]")) {
    const key = /** @type {WordKey} */ (element.getAttribute("data-words-label"));
    element.setAttribute("aria-label", words(key));
  }
  for (const element of document.querySelectorAll("[data-words-title]")) {
    const key = /** @type {WordKey} */ (element.getAttribute("data-words-title"));
    element.setAttribute("title", words(key));
  }
  for (const element of document.querySelectorAll("[data-words-placeholder]")) {
    const key = /** @type {WordKey} */ (element.getAttribute("data-words-placeholder"));
    element.setAttribute("placeholder", words(key));
  }
}
