// One stay in a room over one WebSocket: what is asked is matched with what is answered, and a
// silent server is noticed. Joining again is somebody else's decision (call.js).

/** @typedef {import("./types.js").ServerMessage} ServerMessage */
/** @typedef {import("./types.js").ClientMessage} ClientMessage */

const PING_EVERY_MS = 10_000;
// So long without a word after we asked for one is a dead connection. Not since the last word: a
// hidden tab's timers come once a minute.
const SILENCE_MS = 15_000;
const ANSWER_WITHIN_MS = 15_000;

/** A request of ours that the server refused or did not answer. */
export class Refused extends Error {
  /**
   * @param {string} code stable; "no_answer" and "closed" are ours
   * @param {string} detail
   */
  constructor(code, detail) {
    super(detail || code);
    this.name = "Refused";
    this.code = code;
  }
}

/**
 * @typedef {object} SocketListener
 * @property {(message: ServerMessage) => void} message everything but answers and pongs, in order
 * @property {(end: {goodbye: import("./types.js").Goodbye | null, closeCode: number}) => void} closed
 *   exactly once, unless close() was called
 */

export class SignalingSocket {
  #socket;
  #listener;
  #nextId = 1;
  /** @type {Map<number, {resolve: (message: any) => void, reject: (error: Error) => void, timer: number}>} */
  #waiting = new Map();
  /** @type {import("./types.js").Goodbye | null} */
  #goodbye = null;
  /** When the first ping was sent that nothing came after; null: something came. */
  #askedAt = /** @type {number | null} */ (null);
  #pinger;
  #over = false;

  /**
   * @param {string} url
   * @param {SocketListener} listener
   */
  constructor(url, listener) {
    this.#listener = listener;
    this.#socket = new WebSocket(url, ["tertulia.v1"]);
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = (event) => this.#end(event.code);
    this.#pinger = setInterval(() => this.#ping(), PING_EVERY_MS);
  }

  /** @param {ClientMessage} message dropped when the socket is not open */
  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /**
   * Offer the publisher transport.
   * @param {string} sdp
   * @param {import("./types.js").TrackAnnouncement[]} tracks
   * @returns {Promise<import("./types.js").PublisherAnswer>} rejects with Refused
   */
  offer(sdp, tracks) {
    return this.#ask((id) => ({ type: "publisher_offer", id, sdp, tracks }));
  }

  /**
   * Mute or unmute a track of one's own.
   * @param {string} track
   * @param {boolean} muted
   * @returns {Promise<import("./types.js").Muted>} rejects with Refused
   */
  mute(track, muted) {
    return this.#ask((id) => ({ type: "mute", id, track, muted }));
  }

  /** Say that we leave, and hear no more. */
  leave() {
    this.send({ type: "leave" });
    this.close();
  }

  /** Hear no more. */
  close() {
    if (this.#over) return;
    this.#stop();
    this.#socket.close(1000);
  }

  /**
   * @param {(id: number) => ClientMessage} make
   * @returns {Promise<any>}
   */
  #ask(make) {
    if (this.#over) return Promise.reject(new Refused("closed", "The connection is closed."));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Refused("no_answer", "The server did not answer in time."));
      }, ANSWER_WITHIN_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      this.send(make(id));
    });
  }

  /** @param {unknown} data */
  #receive(data) {
    if (this.#over || typeof data !== "string") return;
    this.#askedAt = null;
    /** @type {ServerMessage} */
    const message = JSON.parse(data);
    if (message.type === "goodbye") this.#goodbye = message;
    if (message.type === "pong") return;
    if (message.type === "publisher_answer" || message.type === "muted") {
      this.#take(message.id)?.resolve(message);
    } else if (message.type === "error" && message.id !== null && message.id !== undefined) {
      this.#take(message.id)?.reject(new Refused(message.code, message.detail));
    } else {
      this.#listener.message(message);
    }
  }

  /** @param {number} id */
  #take(id) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(waiting?.timer);
    return waiting;
  }

  #ping() {
    const now = performance.now();
    if (this.#askedAt !== null && now - this.#askedAt > SILENCE_MS) {
      // A close event of a dead connection may take minutes; do not wait for it.
      this.#end(1006);
      this.#socket.close();
      return;
    }
    // While it is still connecting, too: that may hang as well.
    this.#askedAt ??= now;
    this.send({ type: "ping", id: this.#nextId++ });
  }

  /** @param {number} closeCode */
  #end(closeCode) {
    if (this.#over) return;
    this.#stop();
    this.#listener.closed({ goodbye: this.#goodbye, closeCode });
  }

  #stop() {
    this.#over = true;
    clearInterval(this.#pinger);
    const gone = new Refused("closed", "The connection is closed.");
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(gone);
  }
}
