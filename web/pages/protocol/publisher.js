// The transport on which we send: we offer, the node answers. One offer at a time; what is wanted
// may change meanwhile and the next offer says so.

/** @typedef {import("./types.js").TrackSource} TrackSource */
/** @typedef {{track: MediaStreamTrack | null, muted: boolean, name: string}} Wanted */
/** @typedef {{transceiver: RTCRtpTransceiver, live: boolean, sid: string, saidMuted: boolean}} Line */

/**
 * @typedef {object} PublisherListener
 * @property {(sdp: string, tracks: import("./types.js").TrackAnnouncement[]) => Promise<{sdp: string, tracks: {mid: string, sid: string}[]}>} exchange
 * @property {(source: TrackSource, outdated: boolean) => void} published the track has a sid now;
 *   *outdated*: it was muted or unmuted while the offer was on its way
 * @property {(error: Error) => void} refused the offer was not taken; what it added is given up
 * @property {() => void} failed the transport is gone
 */

/**
 * What to send at most, so that a room of many does not drown a receiver: nobody thins out what we
 * send. Bits per second and the divisor of width and height.
 * @param {TrackSource} source
 * @param {number} people in the room
 * @returns {{maxBitrate: number, scaleResolutionDownBy: number}}
 */
export function sendingLimits(source, people) {
  if (source === "screen_share") return { maxBitrate: 2_500_000, scaleResolutionDownBy: 1 };
  if (people <= 2) return { maxBitrate: 1_700_000, scaleResolutionDownBy: 1 };
  if (people <= 4) return { maxBitrate: 1_000_000, scaleResolutionDownBy: 1.5 };
  if (people <= 9) return { maxBitrate: 500_000, scaleResolutionDownBy: 2 };
  return { maxBitrate: 250_000, scaleResolutionDownBy: 3 };
}

export class Publisher {
  #listener;
  #codec;
  #connection;
  /** @type {Map<TrackSource, Wanted>} */
  #wanted = new Map();
  /** @type {Map<TrackSource, Line>} */
  #lines = new Map();
  #negotiating = false;
  #again = false;
  #closed = false;
  #people = 1;

  /**
   * @param {import("./types.js").IceServer[]} iceServers
   * @param {PublisherListener} listener
   * @param {string} codec preferred video codec ("h264", "vp9" ...); empty: the browser's choice
   */
  constructor(iceServers, listener, codec) {
    this.#listener = listener;
    this.#codec = codec;
    this.#connection = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.#connection.onconnectionstatechange = () => {
      if (this.#connection.connectionState === "failed") listener.failed();
    };
  }

  /**
   * Send *track* as *source* from now on. A track in the place of another, or null (sending
   * nothing for a while), needs no new offer.
   * @param {TrackSource} source
   * @param {Wanted} wanted
   */
  publish(source, wanted) {
    this.#wanted.set(source, wanted);
    const line = this.#lines.get(source);
    if (line?.live) void this.#replace(line, wanted.track);
    else if (wanted.track) void this.#negotiate();
  }

  /** @param {TrackSource} source */
  unpublish(source) {
    if (this.#wanted.delete(source)) void this.#negotiate();
  }

  /** @param {TrackSource} source @returns {string} empty while it has none */
  sidOf(source) {
    const line = this.#lines.get(source);
    return line?.live ? line.sid : "";
  }

  /** @param {number} people in the room */
  setPeople(people) {
    this.#people = people;
    for (const [source, line] of this.#lines) void this.#limit(source, line);
  }

  close() {
    this.#closed = true;
    this.#connection.close();
  }

  async #negotiate() {
    this.#again = true;
    if (this.#negotiating) return;
    this.#negotiating = true;
    await null; // what is published in the same breath goes into the same offer
    while (this.#again && !this.#closed) {
      this.#again = false;
      await this.#offerOnce();
    }
    this.#negotiating = false;
  }

  async #offerOnce() {
    const offered = await this.#arrangeLines();
    if (!offered) return;
    try {
      await this.#connection.setLocalDescription(await this.#connection.createOffer());
      const sdp = this.#connection.localDescription?.sdp ?? "";
      const answer = await this.#listener.exchange(sdp, this.#announcements());
      await this.#connection.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      this.#name(answer.tracks);
    } catch (error) {
      if (this.#closed) return;
      await this.#giveUp(/** @type {Error} */ (error));
    }
  }

  /** Bring the lines to what is wanted. @returns {Promise<boolean>} whether that needs an offer */
  async #arrangeLines() {
    let changed = false;
    for (const [source, wanted] of this.#wanted) {
      const line = this.#lines.get(source);
      if (line?.live || !wanted.track) continue;
      changed = true;
      if (!line) {
        this.#lines.set(source, this.#newLine(source, wanted));
        continue;
      }
      line.live = true;
      line.sid = "";
      line.transceiver.direction = "sendonly";
      await this.#replace(line, wanted.track);
    }
    for (const [source, line] of this.#lines) {
      if (!line.live || this.#wanted.has(source)) continue;
      changed = true;
      line.live = false;
      line.transceiver.direction = "inactive";
      await this.#replace(line, null);
    }
    return changed;
  }

  /**
   * @param {TrackSource} source
   * @param {Wanted} wanted
   * @returns {Line}
   */
  #newLine(source, wanted) {
    const audio = source === "microphone" || source === "screen_share_audio";
    const transceiver = this.#connection.addTransceiver(
      wanted.track ?? (audio ? "audio" : "video"),
      {
        direction: "sendonly",
        ...(audio ? {} : { sendEncodings: [sendingLimits(source, this.#people)] }),
      },
    );
    if (!audio && this.#codec) preferCodec(transceiver, this.#codec);
    return { transceiver, live: true, sid: "", saidMuted: wanted.muted };
  }

  #announcements() {
    const tracks = [];
    for (const [source, line] of this.#lines) {
      const wanted = this.#wanted.get(source);
      const mid = line.transceiver.mid;
      if (!line.live || mid === null || !wanted) continue;
      if (!line.sid) line.saidMuted = wanted.muted;
      tracks.push({ mid, source, name: wanted.name, muted: wanted.muted });
    }
    return tracks;
  }

  /** @param {{mid: string, sid: string}[]} tracks */
  #name(tracks) {
    const sids = new Map(tracks.map((t) => [t.mid, t.sid]));
    for (const [source, line] of this.#lines) {
      const sid = sids.get(line.transceiver.mid ?? "");
      if (!line.live || !sid || sid === line.sid) continue;
      line.sid = sid;
      this.#listener.published(source, this.#wanted.get(source)?.muted !== line.saidMuted);
      void this.#limit(source, line);
    }
  }

  /** @param {Error} error */
  async #giveUp(error) {
    if (this.#connection.signalingState === "have-local-offer") {
      await this.#connection.setLocalDescription({ type: "rollback" });
    }
    for (const [source, line] of [...this.#lines]) {
      if (!line.live || line.sid) continue;
      this.#wanted.delete(source);
      if (line.transceiver.mid === null) {
        // A transceiver that no description ever held cannot be taken out, only be silenced.
        line.transceiver.stop();
        this.#lines.delete(source);
      } else {
        line.live = false;
        line.transceiver.direction = "inactive";
      }
    }
    this.#listener.refused(error);
  }

  /**
   * @param {Line} line
   * @param {MediaStreamTrack | null} track
   */
  async #replace(line, track) {
    try {
      await line.transceiver.sender.replaceTrack(track);
    } catch {
      // The connection was closed meanwhile.
    }
  }

  /**
   * @param {TrackSource} source
   * @param {Line} line
   */
  async #limit(source, line) {
    const sender = line.transceiver.sender;
    if (source !== "camera" || !line.live || !sender.track) return;
    const parameters = sender.getParameters();
    const encoding = parameters.encodings?.[0];
    const limits = sendingLimits(source, this.#people);
    if (!encoding || encoding.maxBitrate === limits.maxBitrate) return;
    Object.assign(encoding, limits);
    try {
      await sender.setParameters(parameters);
    } catch {
      // A negotiation came between; the next change of people asks again.
    }
  }
}

/**
 * @param {RTCRtpTransceiver} transceiver
 * @param {string} name
 */
function preferCodec(transceiver, name) {
  const all = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const wanted = all.filter((c) => c.mimeType.toLowerCase() === `video/${name.toLowerCase()}`);
  if (wanted.length === 0) return;
  transceiver.setCodecPreferences([...wanted, ...all.filter((c) => !wanted.includes(c))]);
}
