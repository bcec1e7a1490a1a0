// What this browser knows of the room: the server's messages applied in order. No DOM, no sockets.

/** @typedef {import("./types.js").ServerMessage} ServerMessage */
/** @typedef {import("./types.js").ParticipantInfo} ParticipantInfo */
/** @typedef {import("./types.js").TrackInfo} TrackInfo */
/** @typedef {import("./types.js").TrackSource} TrackSource */

/**
 * What is worth telling people about a message.
 * @typedef {{kind: "joined", name: string}
 *   | {kind: "left", name: string, reason: string}
 *   | {kind: "sharing", name: string, mine: boolean}
 *   | {kind: "host_muted" | "host_unmuted", track: TrackInfo}
 *   | {kind: "broadcast", state: string}
 *   | {kind: "resync"}} News
 */

export class RoomState {
  constructor() {
    /** @type {import("./types.js").RoomInfo | null} */
    this.room = null;
    /** @type {ParticipantInfo | null} */
    this.me = null;
    /** @type {Map<string, ParticipantInfo>} the others, by sid */
    this.others = new Map();
    /** @type {Map<string, number>} levels of those who speak, by participant sid, loudest first */
    this.speakers = new Map();
    /** @type {Set<string>} sids of the tracks that an operator muted, as far as we heard of it */
    this.mutedByHost = new Set();
  }

  /**
   * @param {ServerMessage} message messages that do not concern the room are ignored
   * @returns {News[]}
   */
  apply(message) {
    switch (message.type) {
      case "joined":
        this.me = message.participant;
        this.mutedByHost.clear();
        this.#replace(message.room, message.participants);
        return [];
      case "resync":
        this.#resync(message.room, message.participants);
        return [{ kind: "resync" }];
      case "participant_joined":
        if (message.participant.sid === this.me?.sid) return [];
        this.others.set(message.participant.sid, message.participant);
        return [{ kind: "joined", name: shownName(message.participant) }];
      case "participant_left":
        return this.#left(message.sid, message.reason);
      case "track_published":
        return this.#published(message.participant, message.track);
      case "track_unpublished":
        this.#change(message.participant, (tracks) =>
          tracks.filter((track) => track.sid !== message.track),
        );
        this.mutedByHost.delete(message.track);
        return [];
      case "track_muted":
        return this.#muted(message);
      case "speakers":
        this.speakers = new Map(message.speakers.map((s) => [s.participant, s.level]));
        return [];
      case "broadcast":
        return this.#broadcast(message.broadcast);
      default:
        return [];
    }
  }

  /** Everybody, me first, then in the order of joining: a tile never changes its place. */
  everybody() {
    const others = [...this.others.values()].sort(
      (a, b) => a.joined_at.localeCompare(b.joined_at) || a.sid.localeCompare(b.sid),
    );
    return this.me ? [this.me, ...others] : others;
  }

  /** @param {string} sid */
  participant(sid) {
    return sid === this.me?.sid ? this.me : (this.others.get(sid) ?? null);
  }

  /**
   * @param {import("./types.js").RoomInfo} room
   * @param {ParticipantInfo[]} others
   */
  #replace(room, others) {
    this.room = room;
    this.others = new Map(others.map((p) => [p.sid, p]));
    this.speakers.clear();
  }

  /**
   * Like joined, but what we know of ourselves may be among the participants.
   * @param {import("./types.js").RoomInfo} room
   * @param {ParticipantInfo[]} participants
   */
  #resync(room, participants) {
    const mine = participants.find((p) => p.sid === this.me?.sid);
    if (mine) this.me = mine;
    this.#replace(
      room,
      participants.filter((p) => p.sid !== this.me?.sid),
    );
  }

  /**
   * @param {string} sid
   * @param {string} reason
   * @returns {News[]}
   */
  #left(sid, reason) {
    const gone = this.others.get(sid);
    if (!gone) return [];
    this.others.delete(sid);
    this.speakers.delete(sid);
    for (const track of gone.tracks) this.mutedByHost.delete(track.sid);
    return [{ kind: "left", name: shownName(gone), reason }];
  }

  /**
   * @param {string} sid
   * @param {TrackInfo} track
   * @returns {News[]}
   */
  #published(sid, track) {
    this.#change(sid, (tracks) => [...tracks.filter((t) => t.sid !== track.sid), track]);
    const who = this.participant(sid);
    if (!who || track.source !== "screen_share") return [];
    return [{ kind: "sharing", name: shownName(who), mine: sid === this.me?.sid }];
  }

  /**
   * @param {{participant: string, track: string, muted: boolean, by: string}} message
   * @returns {News[]}
   */
  #muted(message) {
    this.#change(message.participant, (tracks) =>
      tracks.map((t) => (t.sid === message.track ? { ...t, muted: message.muted } : t)),
    );
    if (!message.muted) this.mutedByHost.delete(message.track);
    else if (message.by === "admin") this.mutedByHost.add(message.track);
    const track = this.me?.tracks.find((t) => t.sid === message.track);
    if (!track || message.by !== "admin") return [];
    return [{ kind: message.muted ? "host_muted" : "host_unmuted", track }];
  }

  /**
   * @param {import("./types.js").BroadcastInfo} broadcast
   * @returns {News[]}
   */
  #broadcast(broadcast) {
    const before = this.room?.broadcast?.state;
    if (this.room) this.room = { ...this.room, broadcast };
    return before === broadcast.state ? [] : [{ kind: "broadcast", state: broadcast.state }];
  }

  /**
   * @param {string} sid
   * @param {(tracks: TrackInfo[]) => TrackInfo[]} change
   */
  #change(sid, change) {
    const who = this.participant(sid);
    if (!who) return;
    const next = { ...who, tracks: change(who.tracks) };
    if (sid === this.me?.sid) this.me = next;
    else this.others.set(sid, next);
  }
}

/** @param {{name: string, identity: string}} participant */
export function shownName(participant) {
  return participant.name || participant.identity;
}

/**
 * @param {{tracks: TrackInfo[]}} participant
 * @param {TrackSource} source
 * @returns {TrackInfo | null}
 */
export function trackOf(participant, source) {
  const fitting = participant.tracks.find((t) => t.source === source);
  if (fitting) return fitting;
  // What a guest program published without a source still is its camera or microphone.
  const kind = source === "camera" ? "video" : source === "microphone" ? "audio" : null;
  return participant.tracks.find((t) => t.source === "unknown" && t.kind === kind) ?? null;
}
