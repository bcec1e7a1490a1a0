// Why a device did not open, and what to do about it, in words.
import { words } from "../text/words.js";

/** @typedef {import("../media/devices.js").Refusal} Refusal */
/** @typedef {import("../media/devices.js").DeviceKind} DeviceKind */

/** @returns {"chromium" | "firefox" | "safari"} for help that names the browser's own buttons */
function browserFamily() {
  const agent = navigator.userAgent;
  if (/firefox|fxios/i.test(agent)) return "firefox";
  return /safari/i.test(agent) && !/chrom(e|ium)|crios|edg/i.test(agent) ? "safari" : "chromium";
}

/**
 * @param {Refusal} refusal
 * @param {DeviceKind | "both"} kind
 * @returns {{title: string, text: string}}
 */
export function refusalWords(refusal, kind) {
  const either = kind === "both" && refusal === "none";
  const device = words(`refusal.device_${either ? "either" : kind}`);
  const title = words(`refusal.${refusal}_title`, { device });
  if (refusal === "denied") return { title, text: words(`refusal.denied_${browserFamily()}`) };
  return { title, text: words(`refusal.${refusal}`) };
}

/**
 * One entry for each thing that is wrong: a refusal of both devices for one reason is one thing.
 * @param {Refusal | null} camera
 * @param {Refusal | null} microphone
 * @returns {{title: string, text: string, refusal: Refusal}[]}
 */
export function refusalsInWords(camera, microphone) {
  if (camera && camera === microphone) {
    return [{ ...refusalWords(camera, "both"), refusal: camera }];
  }
  const entries = [];
  if (camera) entries.push({ ...refusalWords(camera, "camera"), refusal: camera });
  if (microphone) entries.push({ ...refusalWords(microphone, "microphone"), refusal: microphone });
  return entries;
}
