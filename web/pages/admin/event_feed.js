// A room's ledger as it grows: what there is by pages, then server-sent events.
import { callApi, withToken } from "../protocol/api.js";

/** @typedef {{id: string, type: string, ts: string, src: string, data: Record<string, any>}} LedgerEvent */

const PAGE = 1000;
// A ledger longer than this is not read from its beginning on: the last events matter here.
const MOST_PAGES = 20;
const AGAIN_MS = 3_000;
const TYPES = [
  "room.created",
  "room.placed",
  "room.closed",
  "participant.joined",
  "participant.left",
  "track.published",
  "track.unpublished",
  "track.muted",
  "broadcast.requested",
  "broadcast.live",
  "broadcast.stopping",
  "broadcast.ended",
];

export class EventFeed {
  #path;
  #token;
  #heard;
  /** @type {EventSource | null} */
  #source = null;
  #after = "0-0";
  #timer = 0;
  #closed = false;

  /**
   * @param {string} room
   * @param {string} token
   * @param {(events: LedgerEvent[]) => void} heard in order, the oldest first, each
   *   once; none: some were missed, read the room again
   */
  constructor(room, token, heard) {
    this.#path = `/v1/rooms/${encodeURIComponent(room)}/events`;
    this.#token = token;
    this.#heard = heard;
    void this.#begin();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  async #begin() {
    let path = this.#path;
    try {
      await this.#readPages();
      path += `?after=${encodeURIComponent(this.#after)}`;
    } catch (error) {
      // What the ledger no longer holds cannot be shown: from now on, then.
      if (/** @type {{code?: string}} */ (error).code !== "position_trimmed") {
        this.#again();
        return;
      }
    }
    if (!this.#closed) this.#listen(path);
  }

  /** @param {string} path */
  #listen(path) {
    const source = new EventSource(withToken(path, this.#token));
    this.#source = source;
    const take = (/** @type {Event} */ event) => {
      this.#take([JSON.parse(/** @type {MessageEvent} */ (event).data)]);
    };
    for (const type of TYPES) source.addEventListener(type, take);
    source.addEventListener("resync", () => this.#heard([]));
    source.addEventListener("error", () => {
      // While it is connecting, the browser goes on by itself behind the last event.
      if (source.readyState === EventSource.CLOSED) this.#again();
    });
  }

  /** Go on behind the last event, a little later. */
  #again() {
    if (!this.#closed) this.#timer = setTimeout(() => void this.#begin(), AGAIN_MS);
  }

  async #readPages() {
    for (let page = 0; page < MOST_PAGES && !this.#closed; page++) {
      const answer = await callApi("GET", `${this.#path}?after=${this.#after}&limit=${PAGE}`, {
        token: this.#token,
      });
      if (this.#closed || answer.events.length === 0) return;
      this.#take(answer.events);
      this.#after = answer.next_after;
    }
  }

  /** @param {LedgerEvent[]} events */
  #take(events) {
    this.#after = events.at(-1)?.id ?? this.#after;
    this.#heard(events);
  }
}
