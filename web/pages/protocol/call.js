// A person's time in a room: joins, joins again when the connection is lost, keeps what they
// publish published. The page hears of it through CallListener.
import { withToken } from "./api.js";
import { Publisher } from "./publisher.js";
import { adviceOf, delayMs } from "./reconnect.js";
import { RoomState } from "./room_state.js";
import { Refused, SignalingSocket } from "./signaling.js";
import { Subscriber } from "./subscriber.js";

/** @typedef {import("./types.js").TrackSource} TrackSource */

// A join that held this long was a good one: the next loss is answered quickly again.
const STEADY_MS = 10_000;
const GIVE_UP_MS = 90_000;
// Media that failed so often in a row will fail again: a firewall, most likely.
const MEDIA_FAILURES = 3;

/**
 * @typedef {object} CallListener
 * @property {(news: import("./room_state.js").News[]) => void} changed the room's state changed
 * @property {(again: boolean) => void} joined
 * @property {(code: string) => void} reconnecting
 * @property {(code: string, detail: string) => void} ended for good; "server_gone" and
 *   "media_blocked" are ours, the others the server's
 * @property {() => void} media what arrives (`tracks`) changed
 * @property {(source: TrackSource) => void} mutedByHost an unmute was not obeyed
 * @property {(error: Error) => void} refused something of ours was not published
 */

export class RoomCall {
  #room;
  #token;
  #renew;
  #codec;
  #listener;
  /** @type {SignalingSocket | null} */
  #socket = null;
  /** @type {Publisher | null} */
  #publisher = null;
  /** @type {Subscriber | null} */
  #subscriber = null;
  /** @type {Map<TrackSource, import("./publisher.js").Wanted>} */
  #mine = new Map();
  #attempt = 0;
  #mediaFailures = 0;
  #joinedOnce = false;
  #lostAt = performance.now();
  #timer = 0;
  #waiting = false; // for the timer
  #steadyTimer = 0;
  #over = false;

  /**
   * @param {object} options
   * @param {string} options.room
   * @param {string} options.token
   * @param {(() => Promise<string>) | null} options.renew mints another token when this expired
   * @param {string} options.codec see Publisher
   * @param {CallListener} options.listener
   */
  constructor({ room, token, renew, codec, listener }) {
    this.#room = room;
    this.#token = token;
    this.#renew = renew;
    this.#codec = codec;
    this.#listener = listener;
    this.state = new RoomState();
  }

  /**
   * @param {TrackSource} source
   * @returns {boolean} whether an operator muted what we send as *source*
   */
  isMutedByHost(source) {
    return this.state.mutedByHost.has(this.#publisher?.sidOf(source) ?? "");
  }

  /** What arrives, by track sid. */
  get tracks() {
    return this.#subscriber?.tracks ?? new Map();
  }

  start() {
    addEventListener("online", this.#online);
    this.#lostAt = performance.now();
    this.#connect();
  }

  leave() {
    this.#finish();
    this.#socket?.leave();
    this.#hangUp();
  }

  /**
   * @param {TrackSource} source
   * @param {MediaStreamTrack | null} track null: nothing for a while (a camera that is off)
   * @param {{muted: boolean, name?: string}} how
   */
  publish(source, track, { muted, name = "" }) {
    const before = this.#mine.get(source);
    if (before && before.track === track && before.muted === muted) return;
    const wanted = { track, muted, name };
    this.#mine.set(source, wanted);
    this.#publisher?.publish(source, wanted);
    if (before && before.muted !== muted) void this.#tellMuted(source);
  }

  /** @param {TrackSource} source */
  unpublish(source) {
    this.#mine.delete(source);
    this.#publisher?.unpublish(source);
  }

  /** The network is back: do not wait any longer. */
  #online = () => {
    if (!this.#waiting) return;
    clearTimeout(this.#timer);
    this.#connect();
  };

  #finish() {
    this.#over = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#steadyTimer);
    removeEventListener("online", this.#online);
  }

  #connect() {
    this.#waiting = false;
    const path = `/v1/rooms/${encodeURIComponent(this.#room)}/join`;
    const url = new URL(withToken(path, this.#token), location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new SignalingSocket(url.href, {
      message: (message) => this.#socket === socket && this.#receive(message),
      closed: (end) => this.#socket === socket && this.#closed(end),
    });
    this.#socket = socket;
  }

  /** @param {import("./types.js").ServerMessage} message */
  #receive(message) {
    const news = this.state.apply(message);
    if (message.type === "joined") this.#joined(message);
    else if (message.type === "subscriber_offer") this.#subscriber?.take(message);
    if (message.type === "goodbye" || message.type === "subscriber_offer") return;
    this.#publisher?.setPeople(this.state.others.size + 1);
    this.#listener.changed(news);
  }

  /** @param {import("./types.js").Joined} message */
  #joined(message) {
    const socket = this.#socket;
    if (!socket) return;
    this.#hangUp();
    this.#openTransports(message, socket);
    clearTimeout(this.#steadyTimer);
    this.#steadyTimer = setTimeout(() => {
      this.#attempt = 0;
      this.#mediaFailures = 0;
    }, STEADY_MS);
    const again = this.#joinedOnce;
    this.#joinedOnce = true;
    this.#listener.joined(again);
  }

  /**
   * @param {import("./types.js").Joined} message
   * @param {SignalingSocket} socket
   */
  #openTransports(message, socket) {
    if (message.participant.permissions.can_subscribe) {
      this.#subscriber = new Subscriber(message.ice_servers, {
        answer: (offerId, sdp) =>
          socket.send({ type: "subscriber_answer", offer_id: offerId, sdp }),
        changed: () => this.#listener.media(),
        failed: () => this.#mediaFailed(socket),
      });
    }
    if (!message.participant.permissions.can_publish) return;
    this.#publisher = new Publisher(
      message.ice_servers,
      {
        exchange: (sdp, tracks) => socket.offer(sdp, tracks),
        published: (source, outdated) => {
          if (outdated) void this.#tellMuted(source);
          this.#listener.changed([]);
        },
        refused: (error) => this.#refused(error, socket),
        failed: () => this.#mediaFailed(socket),
      },
      this.#codec,
    );
    for (const [source, wanted] of this.#mine) this.#publisher.publish(source, wanted);
  }

  /** @param {TrackSource} source */
  async #tellMuted(source) {
    const sid = this.#publisher?.sidOf(source);
    const wanted = this.#mine.get(source);
    if (!sid || !wanted || !this.#socket) return; // told once it is published
    try {
      const answer = await this.#socket.mute(sid, wanted.muted);
      if (answer.muted && !wanted.muted) this.#outweighed(source, sid);
    } catch (error) {
      if (!(error instanceof Refused) || error.code === "closed") return;
      if (error.code === "permission_denied" && !wanted.muted) this.#outweighed(source, sid);
      else this.#listener.refused(error);
    }
  }

  /**
   * An operator muted what we unmuted.
   * @param {TrackSource} source
   * @param {string} sid
   */
  #outweighed(source, sid) {
    this.state.mutedByHost.add(sid);
    this.#listener.mutedByHost(source);
  }

  /**
   * @param {Error} error
   * @param {SignalingSocket} socket
   */
  #refused(error, socket) {
    if (socket !== this.#socket || (error instanceof Refused && error.code === "closed")) return;
    this.#listener.refused(error);
  }

  /** @param {SignalingSocket} socket */
  #mediaFailed(socket) {
    if (socket !== this.#socket || this.#over) return;
    this.#mediaFailures += 1;
    socket.leave();
    if (this.#mediaFailures >= MEDIA_FAILURES) this.#end("media_blocked", "");
    else this.#closed({ goodbye: null, closeCode: 4206 });
  }

  /** @param {{goodbye: import("./types.js").Goodbye | null, closeCode: number}} end */
  #closed(end) {
    if (this.#over) return;
    this.#socket = null;
    clearTimeout(this.#steadyTimer);
    this.#hangUp();
    const code = end.goodbye?.code ?? (end.closeCode === 4206 ? "transport_failed" : "lost");
    const advice = adviceOf(end);
    if (code === "token_expired" && this.#renew) {
      void this.#renewed(this.#renew);
    } else if (advice === "no") {
      this.#end(code, end.goodbye?.detail ?? "");
    } else {
      this.#retry(advice, code);
    }
  }

  /**
   * @param {import("./reconnect.js").Advice} advice
   * @param {string} code
   */
  #retry(advice, code) {
    const now = performance.now();
    if (this.#attempt === 0) this.#lostAt = now;
    if (now - this.#lostAt > GIVE_UP_MS) {
      this.#end("server_gone", "");
      return;
    }
    const delay = delayMs(advice, this.#attempt, Math.random());
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#waiting = true;
    this.#listener.reconnecting(code);
  }

  /** @param {() => Promise<string>} renew */
  async #renewed(renew) {
    this.#listener.reconnecting("token_expired");
    this.#renew = null; // a fresh token that is refused as well will not get better
    try {
      this.#token = await renew();
    } catch {
      this.#end("token_expired", "");
      return;
    }
    if (this.#over) return;
    this.#renew = renew;
    this.#retry("later", "token_expired");
  }

  /**
   * @param {string} code
   * @param {string} detail
   */
  #end(code, detail) {
    this.#finish();
    this.#socket = null;
    this.#hangUp();
    this.#listener.ended(code, detail);
  }

  #hangUp() {
    this.#publisher?.close();
    this.#subscriber?.close();
    this.#publisher = null;
    this.#subscriber = null;
  }
}
