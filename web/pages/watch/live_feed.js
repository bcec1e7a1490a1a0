// What a room's broadcast is doing, told by the server as it changes (server-sent events).
import { readProblem, withToken } from "../protocol/api.js";
import { delayMs } from "../protocol/reconnect.js";

/** @typedef {{state: "none" | "requested" | "live" | "stopping" | "ended", sid?: string | null, url?: string}} LiveState */
/**
 * @typedef {object} LiveFeedListener
 * @property {(state: LiveState) => void} state
 * @property {(error: import("../protocol/api.js").ApiError) => void} refused for good: this token may not watch
 * @property {(away: boolean) => void} away the server does not answer; or does again
 */

const REFUSALS = [400, 401, 403, 404, 422];

export class LiveFeed {
  #path;
  #listener;
  /** @type {EventSource | null} */
  #source = null;
  #attempt = 0;
  #timer = 0;
  #closed = false;

  /**
   * @param {string} room
   * @param {string | null} token
   * @param {LiveFeedListener} listener
   */
  constructor(room, token, listener) {
    this.#path = withToken(`/v1/rooms/${encodeURIComponent(room)}/live`, token);
    this.#listener = listener;
    this.#open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  #open() {
    const source = new EventSource(this.#path);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#attempt = 0;
      this.#listener.away(false);
    });
    source.addEventListener("broadcast", (event) => {
      this.#listener.state(JSON.parse(/** @type {MessageEvent} */ (event).data));
    });
    source.addEventListener("error", () => {
      // While it is connecting, the browser tries again by itself.
      if (source.readyState === EventSource.CLOSED) void this.#refused();
      else this.#listener.away(true);
    });
  }

  /** An EventSource does not say what the server answered: ask once more, by fetch. */
  async #refused() {
    const error = await this.#ask();
    if (this.#closed) return;
    if (error && REFUSALS.includes(error.status)) {
      this.#listener.refused(error);
      return;
    }
    this.#listener.away(true);
    this.#timer = setTimeout(() => this.#open(), delayMs("later", this.#attempt++, Math.random()));
  }

  /** @returns {Promise<import("../protocol/api.js").ApiError | null>} */
  async #ask() {
    const asking = new AbortController();
    try {
      const response = await fetch(this.#path, { signal: asking.signal, cache: "no-store" });
      return response.ok ? null : await readProblem(response);
    } catch {
      return null;
    } finally {
      asking.abort(); // an accepted stream would never end
    }
  }
}
