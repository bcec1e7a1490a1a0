// A room's ledger as it grows: what there is by pages, then server-sent events.
import { callApi, withToken } from "../protocol/api.js";

/** @typedef {{id: string, type: string, ts: string, src: string, data: Record<string, any>}} LedgerEvent */

const PAGE = 1000;
// A ledger longer than this is not read from its beginning on: the last events matter here.
const MOST_PAGES = 20;
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
  #closed = false;

  /**
   * @param {string} room
   * @param {string} token
   * @param {(events: LedgerEvent[]) => void} heard in order, the oldest first
   */
  constructor(room, token, heard) {
    this.#path = `/v1/rooms/${encodeURIComponent(room)}/events`;
    this.#token = token;
    this.#heard = heard;
    void this.#begin();
  }

  close() {
    this.#closed = true;
    this.#source?.close();
  }

  async #begin() {
    const after = await this.#readPages().catch(() => null);
    if (this.#closed) return;
    const path = after === null ? this.#path : `${this.#path}?after=${encodeURIComponent(after)}`;
    const source = new EventSource(withToken(path, this.#token));
    this.#source = source;
    const take = (/** @type {Event} */ event) => {
      this.#heard([JSON.parse(/** @type {MessageEvent} */ (event).data)]);
    };
    for (const type of [...TYPES, "message"]) source.addEventListener(type, take);
  }

  /** @returns {Promise<string>} the position up to which was read */
  async #readPages() {
    let after = "0-0";
    for (let page = 0; page < MOST_PAGES && !this.#closed; page++) {
      const answer = await callApi("GET", `${this.#path}?after=${after}&limit=${PAGE}`, {
        token: this.#token,
      });
      if (this.#closed || answer.events.length === 0) break;
      after = answer.next_after;
      this.#heard(answer.events);
    }
    return after;
  }
}
