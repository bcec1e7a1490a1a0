// What people may type, and what stands in addresses and tokens.

const MAX_ROOM_NAME_CHARS = 64;
export const MAX_NAME_CHARS = 64;

/**
 * What somebody typed, made as much a room name as is safe to guess: spaces become hyphens.
 * @param {string} typed
 */
export function tidyRoomName(typed) {
  return typed.normalize("NFC").trim().replace(/\s+/gu, "-");
}

/**
 * Whether *name* is a room name, by the rules of coordinator/ids.py.
 * @param {string} name
 * @returns {"" | "empty" | "long" | "first" | "characters"} what is wrong
 */
export function roomNameFault(name) {
  if (name === "") return "empty";
  if ([...name].length > MAX_ROOM_NAME_CHARS) return "long";
  if (!/^[\p{L}\p{N}]/u.test(name)) return "first";
  return /^[\p{L}\p{M}\p{N}\-_.~]+$/u.test(name) ? "" : "characters";
}

/**
 * @param {string} typed
 * @returns {"" | "empty" | "long" | "characters"} what is wrong with a person's name
 */
export function personNameFault(typed) {
  const name = typed.normalize("NFC").trim();
  if (name === "") return "empty";
  if ([...name].length > MAX_NAME_CHARS) return "long";
  return /\p{C}/u.test(name) ? "characters" : "";
}

/**
 * The room in the path of this page, as in /r/{room}.
 * @param {string} pathname
 */
export function roomOfPath(pathname) {
  const last = pathname.split("/").filter(Boolean).at(-1) ?? "";
  try {
    return decodeURIComponent(last).normalize("NFC");
  } catch {
    return last;
  }
}

/**
 * @param {string} prefix "/r/" or "/watch/"
 * @param {string} room
 */
export function roomLink(prefix, room) {
  return `${prefix}${encodeURIComponent(room)}`;
}

/**
 * One or two letters that stand for a person without a picture.
 * @param {string} name
 */
export function initials(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const first = [...(words[0] ?? "?")][0] ?? "?";
  const last = words.length > 1 ? ([...(words.at(-1) ?? "")][0] ?? "") : "";
  return (first + last).toLocaleUpperCase();
}

/**
 * A hue that is a person's own.
 * @param {string} identity
 * @returns {number} degrees
 */
export function hueOf(identity) {
  let hash = 2166136261;
  for (const char of identity) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16777619);
  return (hash >>> 0) % 360;
}
