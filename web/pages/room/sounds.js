// The others' sound: one audio element each, and the browser's leave to play them.
import { make } from "../page/dom.js";

export class Sounds {
  #place;
  #blocked;
  /** @type {Map<string, HTMLAudioElement>} */
  #elements = new Map();
  #speaker = "";

  /**
   * @param {HTMLElement} place where the elements live
   * @param {(blocked: boolean) => void} blocked true: only a tap lets us play (autoplay rules)
   */
  constructor(place, blocked) {
    this.#place = place;
    this.#blocked = blocked;
  }

  /** @param {{sid: string, identity: string, track: MediaStreamTrack}[]} heard */
  render(heard) {
    const sids = new Set(heard.map((h) => h.sid));
    for (const [sid, element] of this.#elements) {
      if (sids.has(sid)) continue;
      element.srcObject = null;
      element.remove();
      this.#elements.delete(sid);
    }
    for (const { sid, identity, track } of heard) this.#hear(sid, identity, track);
    if (this.#elements.size === 0) this.#blocked(false);
  }

  /** Try again to play all; call it in a tap's event. */
  playAll() {
    this.#blocked(false);
    for (const element of this.#elements.values()) this.#play(element);
  }

  /** @param {string} deviceId where to play; empty: the system's choice */
  setSpeaker(deviceId) {
    this.#speaker = deviceId;
    for (const element of this.#elements.values()) this.#route(element);
  }

  /**
   * @param {string} sid
   * @param {string} identity
   * @param {MediaStreamTrack} track
   */
  #hear(sid, identity, track) {
    let element = this.#elements.get(sid);
    if (!element) {
      element = make("audio", { "data-testid": "tile-audio", "data-identity": identity });
      this.#elements.set(sid, element);
      this.#place.append(element);
      this.#route(element);
    }
    const stream = /** @type {MediaStream | null} */ (element.srcObject);
    if (stream?.getAudioTracks()[0] === track) return;
    element.srcObject = new MediaStream([track]);
    this.#play(element);
  }

  /** @param {HTMLAudioElement} element */
  #play(element) {
    element.play().catch((error) => {
      if (error?.name === "NotAllowedError") this.#blocked(true);
    });
  }

  /** @param {HTMLAudioElement} element */
  #route(element) {
    // Firefox before 116 and Safari cannot choose.
    if (this.#speaker && "setSinkId" in element) element.setSinkId(this.#speaker).catch(() => {});
  }
}

/** @returns {boolean} whether this browser lets pages choose a speaker */
export function canChooseSpeaker() {
  return "setSinkId" in HTMLMediaElement.prototype;
}
