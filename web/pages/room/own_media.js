// What we send: camera, microphone and screen, on or off, before and in a room.
import { LocalDevices, openScreen } from "../media/devices.js";

/** @typedef {import("../media/devices.js").DeviceKind} DeviceKind */
/** @typedef {import("../protocol/call.js").RoomCall} RoomCall */

const MEMORY = "tertulia.devices";

/** @returns {{camera: string, microphone: string, speaker: string, cameraOn: boolean, microphoneOn: boolean}} */
function remembered() {
  const nothing = { camera: "", microphone: "", speaker: "", cameraOn: true, microphoneOn: true };
  try {
    return { ...nothing, ...JSON.parse(localStorage.getItem(MEMORY) ?? "{}") };
  } catch {
    return nothing;
  }
}

export class OwnMedia {
  #changed;
  /** @type {RoomCall | null} */
  #call = null;
  /** @type {MediaStream | null} */
  #screen = null;

  /**
   * @param {() => void} changed
   * @param {(kind: DeviceKind) => void} lost a device was unplugged
   */
  constructor(changed, lost) {
    const memory = remembered();
    this.#changed = changed;
    this.speaker = memory.speaker;
    /** @type {Record<DeviceKind, boolean>} what the person wishes */
    this.wished = { camera: memory.cameraOn, microphone: memory.microphoneOn };
    this.devices = new LocalDevices(() => this.#apply(), memory);
    this.devices.lost = lost;
  }

  /** @param {DeviceKind} kind */
  isOn(kind) {
    return this.wished[kind] && this.devices.device[kind].track !== null;
  }

  get sharing() {
    return this.#screen !== null;
  }

  /** The track of our own picture, while it is on. */
  get picture() {
    return this.isOn("camera") ? this.devices.device.camera.track : null;
  }

  /** Open what is wished and not open yet. */
  async open() {
    const kinds = /** @type {DeviceKind[]} */ (["camera", "microphone"]).filter(
      (kind) => this.wished[kind] && !this.devices.device[kind].track,
    );
    if (kinds.length > 0) await this.devices.open(kinds);
    else this.#apply();
  }

  /**
   * @param {DeviceKind} kind
   * @param {boolean} on
   */
  async set(kind, on) {
    this.wished[kind] = on;
    this.#remember();
    const { track } = this.devices.device[kind];
    if (on && !track) await this.devices.open([kind]);
    // A camera that is off is closed, so that its light goes out; a microphone stays open, so that
    // the first word after unmuting is heard.
    else if (!on && kind === "camera") this.devices.close("camera");
    else this.#apply();
  }

  /**
   * @param {DeviceKind} kind
   * @param {string} deviceId
   */
  async choose(kind, deviceId) {
    if (this.wished[kind]) await this.devices.choose(kind, deviceId);
    else {
      this.devices.close(kind); // opened anew, as the chosen one, when it is turned on
      this.devices.device[kind].deviceId = deviceId;
    }
    this.#remember();
  }

  /** @param {string} deviceId */
  chooseSpeaker(deviceId) {
    this.speaker = deviceId;
    this.#remember();
  }

  /** @param {RoomCall} call from now on it sends what is on */
  sendTo(call) {
    this.#call = call;
    this.#apply();
  }

  /** @returns {Promise<void>} rejects like getDisplayMedia */
  async share() {
    const screen = await openScreen();
    this.#screen = screen;
    const video = screen.getVideoTracks()[0] ?? null;
    const audio = screen.getAudioTracks()[0] ?? null;
    // The browser's own "stop sharing" ends the track.
    if (video) video.onended = () => this.stopSharing();
    this.#call?.publish("screen_share", video, { muted: false });
    if (audio) this.#call?.publish("screen_share_audio", audio, { muted: false });
    this.#changed();
  }

  stopSharing() {
    for (const track of this.#screen?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.#screen = null;
    this.#call?.unpublish("screen_share");
    this.#call?.unpublish("screen_share_audio");
    this.#changed();
  }

  /** The room is over: lights out. */
  release() {
    this.#call = null;
    if (this.#screen) this.stopSharing();
    this.devices.closeAll();
  }

  #apply() {
    const { camera, microphone } = this.devices.device;
    if (microphone.track) microphone.track.enabled = this.wished.microphone;
    if (this.#call) {
      this.#call.publish("microphone", microphone.track, { muted: !this.isOn("microphone") });
      this.#call.publish("camera", camera.track, { muted: !this.isOn("camera") });
    }
    this.#changed();
  }

  #remember() {
    const { camera, microphone } = this.devices.device;
    const memory = {
      camera: camera.deviceId,
      microphone: microphone.deviceId,
      speaker: this.speaker,
      cameraOn: this.wished.camera,
      microphoneOn: this.wished.microphone,
    };
    localStorage.setItem(MEMORY, JSON.stringify(memory));
  }
}
