// The transport on which we receive: the node offers, we answer, in order.

/**
 * @typedef {object} SubscriberListener
 * @property {(offerId: number, sdp: string) => void} answer
 * @property {() => void} changed `tracks` is another now
 * @property {() => void} failed the transport is gone, or an offer cannot be applied
 */

export class Subscriber {
  #listener;
  #connection;
  #closed = false;
  #queue = Promise.resolve();

  /**
   * @param {import("./types.js").IceServer[]} iceServers
   * @param {SubscriberListener} listener
   */
  constructor(iceServers, listener) {
    /** @type {Map<string, MediaStreamTrack>} what arrives, by track sid */
    this.tracks = new Map();
    this.#listener = listener;
    this.#connection = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.#connection.onconnectionstatechange = () => {
      if (this.#connection.connectionState === "failed") listener.failed();
    };
  }

  /** @param {import("./types.js").SubscriberOffer} offer */
  take(offer) {
    this.#queue = this.#queue.then(() => this.#apply(offer)).catch(() => {
      if (!this.#closed) this.#listener.failed();
    });
  }

  close() {
    this.#closed = true;
    this.#connection.close();
    this.tracks.clear();
  }

  /** @param {import("./types.js").SubscriberOffer} offer */
  async #apply(offer) {
    if (this.#closed) return;
    await this.#connection.setRemoteDescription({ type: "offer", sdp: offer.sdp });
    await this.#connection.setLocalDescription(await this.#connection.createAnswer());
    if (this.#closed) return;
    this.#listener.answer(offer.offer_id, this.#connection.localDescription?.sdp ?? "");
    this.tracks = new Map();
    for (const transceiver of this.#connection.getTransceivers()) {
      // A mid may carry one track after another: only this offer says whose it is now.
      const sid = offer.tracks[transceiver.mid ?? ""];
      if (sid) this.tracks.set(sid, transceiver.receiver.track);
    }
    this.#listener.changed();
  }
}
