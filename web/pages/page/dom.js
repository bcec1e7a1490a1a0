// The few things that every page does with the DOM.

/**
 * The element with id *id*; the page's HTML promises it.
 * @template {Element} T
 * @param {string} id
 * @param {new (...args: any) => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return element;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | boolean>} [attributes] true: present, false: left out
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/**
 * Change the text only when it is another: screen readers and selections stay undisturbed.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {string} link
 * @returns {Promise<boolean>} whether it is in the clipboard
 */
export async function copyText(link) {
  try {
    await navigator.clipboard.writeText(link);
    return true;
  } catch {
    return false; // an insecure page has no clipboard
  }
}
