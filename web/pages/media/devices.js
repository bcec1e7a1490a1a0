// Cameras and microphones: opening them, and why that was refused. No DOM.

/** @typedef {"camera" | "microphone"} DeviceKind */
/**
 * Why there is no picture or sound of ours.
 * @typedef {"insecure" | "unsupported" | "denied" | "denied_by_system" | "none" | "in_use" | "failed"} Refusal
 */

const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * @param {unknown} error of getUserMedia or getDisplayMedia (W3C mediacapture-streams 10.3)
 * @returns {Refusal}
 */
export function refusalOf(error) {
  const { name = "", message = "" } = /** @type {{name?: string, message?: string}} */ (error ?? {});
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return /system/i.test(message) ? "denied_by_system" : "denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "none";
    case "NotReadableError":
    case "AbortError":
      return "in_use";
    default:
      return "failed";
  }
}

/** @returns {Refusal | null} why this page can open no device at all */
export function pageRefusal() {
  // The types promise it; an insecure page has no mediaDevices at all.
  if (typeof navigator.mediaDevices?.getUserMedia === "function") return null;
  return globalThis.isSecureContext ? "unsupported" : "insecure";
}

/**
 * @typedef {object} Device
 * @property {MediaStreamTrack | null} track while it is open
 * @property {Refusal | null} refusal of the last attempt to open it
 * @property {string} deviceId the chosen one; empty: the browser's choice
 */

export class LocalDevices {
  #changed;

  /**
   * @param {() => void} changed a device was opened, closed, refused or unplugged
   * @param {{camera: string, microphone: string}} chosen device ids of the last time
   */
  constructor(changed, chosen) {
    this.#changed = changed;
    /** @type {Record<DeviceKind, Device>} */
    this.device = {
      camera: { track: null, refusal: null, deviceId: chosen.camera },
      microphone: { track: null, refusal: null, deviceId: chosen.microphone },
    };
    /** @type {(kind: DeviceKind) => void} a device went away while it was open */
    this.lost = () => {};
    navigator.mediaDevices?.addEventListener?.("devicechange", () => changed());
  }

  /**
   * Open what is in *kinds*: together (one question to the person) or, if that fails, each alone,
   * so that a camera in use does not cost the microphone.
   * @param {DeviceKind[]} kinds
   */
  async open(kinds) {
    const refusal = pageRefusal();
    if (refusal) {
      for (const kind of kinds) this.device[kind].refusal = refusal;
    } else if (kinds.length < 2 || !(await this.#tryOpen(kinds))) {
      for (const kind of kinds) await this.#tryOpen([kind]);
    }
    this.#changed();
  }

  /** @param {DeviceKind} kind */
  close(kind) {
    const { track } = this.device[kind];
    if (track) {
      track.onended = null;
      track.stop();
    }
    this.device[kind].track = null;
    this.#changed();
  }

  closeAll() {
    this.close("camera");
    this.close("microphone");
  }

  /**
   * @param {DeviceKind} kind
   * @param {string} deviceId
   */
  async choose(kind, deviceId) {
    const device = this.device[kind];
    device.deviceId = deviceId;
    // Phones cannot hold two cameras open; others do not mind closing first.
    this.close(kind);
    await this.open([kind]);
  }

  /**
   * @returns {Promise<{cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[], speakers: MediaDeviceInfo[]}>}
   *   without labels until something was allowed
   */
  async list() {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    const of = (/** @type {MediaDeviceKind} */ kind) =>
      all.filter((d) => d.kind === kind && d.deviceId !== "");
    return {
      cameras: of("videoinput"),
      microphones: of("audioinput"),
      speakers: of("audiooutput"),
    };
  }

  /**
   * @param {DeviceKind[]} kinds
   * @returns {Promise<boolean>}
   */
  async #tryOpen(kinds) {
    try {
      const stream = await this.#openChosen(kinds);
      for (const kind of kinds) this.#opened(kind, stream);
      return true;
    } catch (error) {
      for (const kind of kinds) this.device[kind].refusal = refusalOf(error);
      return false;
    }
  }

  /**
   * The chosen devices; others in the place of those that are not plugged in today.
   * @param {DeviceKind[]} kinds
   */
  async #openChosen(kinds) {
    try {
      return await navigator.mediaDevices.getUserMedia(this.#constraints(kinds, true));
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "OverconstrainedError") throw error;
      return navigator.mediaDevices.getUserMedia(this.#constraints(kinds, false));
    }
  }

  /**
   * @param {DeviceKind[]} kinds
   * @param {boolean} chosen
   */
  #constraints(kinds, chosen) {
    // "exact": Chromium prefers its default microphone to an "ideal" one.
    const id = (/** @type {DeviceKind} */ kind) => {
      const { deviceId } = this.device[kind];
      return chosen && deviceId ? { deviceId: { exact: deviceId } } : {};
    };
    return {
      video: kinds.includes("camera") ? { ...CAMERA, ...id("camera") } : false,
      audio: kinds.includes("microphone") ? { ...MICROPHONE, ...id("microphone") } : false,
    };
  }

  /**
   * @param {DeviceKind} kind
   * @param {MediaStream} stream
   */
  #opened(kind, stream) {
    const track = kind === "camera" ? stream.getVideoTracks()[0] : stream.getAudioTracks()[0];
    const device = this.device[kind];
    if (device.track && device.track !== track) this.close(kind);
    device.track = track ?? null;
    device.refusal = null;
    if (!track) return;
    device.deviceId = track.getSettings().deviceId ?? device.deviceId;
    track.onended = () => {
      device.track = null;
      device.refusal = "none";
      this.#changed();
      this.lost(kind);
    };
  }
}

/** @returns {boolean} whether this browser can share a screen (phones cannot) */
export function canShareScreen() {
  return typeof navigator.mediaDevices?.getDisplayMedia === "function";
}

/** @returns {Promise<MediaStream>} rejects with NotAllowedError when the person thinks better of it */
export async function openScreen() {
  const stream = await navigator.mediaDevices.getDisplayMedia({
    video: { frameRate: { ideal: 15, max: 30 } },
    audio: true,
  });
  const video = stream.getVideoTracks()[0];
  if (video) video.contentHint = "detail"; // text stays sharp
  return stream;
}
