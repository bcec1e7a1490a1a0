// Plays a low-latency HLS broadcast: hls.js where it can, the browser's own HLS otherwise.

/** @typedef {import("hls.js").default} Hls */
/** @typedef {typeof import("hls.js").default} HlsClass */

/**
 * @typedef {object} PlayerListener
 * @property {(blocked: boolean) => void} soundBlocked plays muted, for want of a tap; or no longer
 * @property {(interrupted: boolean) => void} interrupted it is trying again; or plays again
 * @property {() => void} ended the playlist ended and was played to its end
 * @property {(why: "no_player" | "unsupported" | "refused") => void} unable
 * @property {() => void} changed qualities, or playing and paused
 */

// hls.js catches up by playing a little faster; more than this is heard.
const CATCH_UP_RATE = 1.1;
// Each stall moves the player this much further from the live edge, for good; hls.js's own second
// would put a viewer whose machine was busy for a moment four seconds behind.
const FURTHER_PER_STALL_S = 0.3;
const BACK_BUFFER_S = 30;
const STALL_MS = 8_000;
const LONGEST_RETRY_MS = 8_000;
// A clock of the viewer that is further off than this says nothing about latency.
const BELIEVABLE_S = 120;
const EDGE_S = 1.5;

/** @returns {Promise<HlsClass | null>} null: the server has not got it */
async function loadHls() {
  const address = new URL("../vendor/hls.mjs", import.meta.url).href;
  try {
    /** @type {{default: HlsClass}} */
    const module = await import(address);
    return module.default;
  } catch {
    return null;
  }
}

export class Player {
  #video;
  #listener;
  /** @type {HlsClass | null | undefined} undefined: not asked for yet */
  #hlsClass;
  /** @type {Hls | null} */
  #hls = null;
  #url = "";
  #generation = 0;
  #attempt = 0;
  #retryTimer = 0;
  #watcher = 0;
  #position = -1;
  #movedAt = 0;
  #mediaErrorAt = -Infinity;

  /**
   * @param {HTMLVideoElement} video
   * @param {PlayerListener} listener
   */
  constructor(video, listener) {
    this.#video = video;
    this.#listener = listener;
    video.addEventListener("ended", () => this.#url && listener.ended());
    for (const type of ["play", "pause", "volumechange"]) {
      video.addEventListener(type, () => listener.changed());
    }
  }

  /** @param {string} url of the multivariant playlist, with its token */
  async load(url) {
    this.stop();
    const generation = this.#generation;
    this.#url = url;
    this.#hlsClass ??= await loadHls();
    if (generation !== this.#generation) return;
    const native = this.#video.canPlayType("application/vnd.apple.mpegurl") !== "";
    if (this.#hlsClass?.isSupported()) this.#startHls(this.#hlsClass);
    else if (native) this.#startNative();
    else this.#listener.unable(this.#hlsClass === null ? "no_player" : "unsupported");
  }

  stop() {
    this.#generation += 1;
    this.#url = "";
    this.#attempt = 0;
    this.#clear();
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  /** The names of the qualities; empty while there is nothing to choose. @returns {string[]} */
  get qualities() {
    const levels = this.#hls?.levels ?? [];
    return levels.length < 2 ? [] : levels.map((l) => (l.height ? `${l.height}p` : l.name));
  }

  /** @param {number} index of `qualities`; -1: automatic */
  chooseQuality(index) {
    if (this.#hls) this.#hls.nextLevel = index;
  }

  /** How far what is seen is behind what happens, in seconds; null while unknown. */
  get behindS() {
    const date = this.#hls?.playingDate ?? this.#nativeDate();
    const wall = date ? (Date.now() - date.getTime()) / 1000 : NaN;
    if (wall > -1 && wall < BELIEVABLE_S) return Math.max(0, wall);
    return this.#hls && this.#hls.latency > 0 ? this.#hls.latency : null;
  }

  get atEdge() {
    if (this.#video.paused) return false;
    if (!this.#hls) return true;
    return this.#hls.latency - (this.#hls.targetLatency ?? 0) < EDGE_S;
  }

  goLive() {
    const seekable = this.#video.seekable;
    const end = seekable.length > 0 ? seekable.end(seekable.length - 1) : null;
    const edge = this.#hls?.liveSyncPosition ?? end;
    if (edge !== null) this.#video.currentTime = edge;
    void this.play();
  }

  /** Play, muted if the browser wants a tap first. */
  async play() {
    try {
      await this.#video.play();
      this.#listener.soundBlocked(this.#video.muted && this.#mutedByUs);
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "NotAllowedError" || this.#video.muted) return;
      this.#mutedByUs = true;
      this.#video.muted = true;
      this.#listener.soundBlocked(true);
      await this.#video.play().catch(() => {});
    }
  }
  #mutedByUs = false;

  /** @param {boolean} muted as the person wishes */
  setMuted(muted) {
    this.#mutedByUs = false;
    this.#video.muted = muted;
    this.#listener.soundBlocked(false);
    if (this.#video.paused) void this.play();
  }

  /** @param {HlsClass} Hls */
  #startHls(Hls) {
    this.#clear();
    const hls = new Hls({
      lowLatencyMode: true,
      backBufferLength: BACK_BUFFER_S,
      maxLiveSyncPlaybackRate: CATCH_UP_RATE,
      liveSyncOnStallIncrease: FURTHER_PER_STALL_S,
      liveDurationInfinity: true,
      // An ES module brings no worker along, and fMP4 needs no transmuxing.
      enableWorker: false,
    });
    this.#hls = hls;
    hls.on(Hls.Events.ERROR, (_event, data) => {
      if (data.fatal && this.#hls === hls) this.#failed(Hls, data);
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      this.#listener.changed();
      void this.play();
    });
    hls.loadSource(this.#url);
    hls.attachMedia(this.#video);
    this.#watch(() => this.#startHls(Hls));
  }

  /**
   * @param {HlsClass} Hls
   * @param {import("hls.js").ErrorData} data
   */
  #failed(Hls, data) {
    const status = data.response?.code ?? 0;
    if (status === 401 || status === 403) {
      this.#clear();
      this.#listener.unable("refused");
      return;
    }
    this.#listener.interrupted(true);
    const now = performance.now();
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && now - this.#mediaErrorAt > STALL_MS) {
      this.#mediaErrorAt = now;
      this.#hls?.recoverMediaError();
      return;
    }
    this.#retry(() => this.#startHls(Hls));
  }

  #startNative() {
    this.#clear();
    this.#video.src = this.#url;
    this.#video.onerror = () => {
      this.#listener.interrupted(true);
      this.#retry(() => this.#startNative());
    };
    void this.play();
    this.#watch(() => this.#startNative());
  }

  /** @param {() => void} start */
  #retry(start) {
    this.#clear();
    const wait = Math.min(LONGEST_RETRY_MS, 500 * 2 ** Math.min(this.#attempt++, 10));
    this.#retryTimer = setTimeout(start, wait);
  }

  /**
   * Begin anew when the picture stands still though it should not.
   * @param {() => void} start
   */
  #watch(start) {
    this.#movedAt = performance.now();
    this.#watcher = setInterval(() => {
      const video = this.#video;
      const now = performance.now();
      if (video.currentTime !== this.#position || video.paused || video.ended) {
        if (video.currentTime !== this.#position && video.currentTime > 0) this.#moves();
        this.#position = video.currentTime;
        this.#movedAt = now;
      } else if (now - this.#movedAt > STALL_MS) {
        this.#listener.interrupted(true);
        this.#retry(start);
      }
    }, 500);
  }

  #moves() {
    this.#attempt = 0;
    this.#listener.interrupted(false);
  }

  /** Safari tells the date at which its timeline begins. @returns {Date | null} */
  #nativeDate() {
    const video = /** @type {HTMLVideoElement & {getStartDate?: () => Date}} */ (this.#video);
    const start = video.getStartDate?.().getTime() ?? NaN;
    return Number.isNaN(start) ? null : new Date(start + video.currentTime * 1000);
  }

  #clear() {
    clearTimeout(this.#retryTimer);
    clearInterval(this.#watcher);
    this.#video.onerror = null;
    this.#hls?.destroy();
    this.#hls = null;
  }
}
