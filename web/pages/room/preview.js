// Before the room: see and hear oneself, choose devices, say one's name.
import { watchLevel } from "../media/level.js";
import { byId, make, setText } from "../page/dom.js";
import { setIcon } from "../page/icons.js";
import { personNameFault } from "../protocol/names.js";
import { words } from "../text/words.js";
import { fillDevices } from "./device_lists.js";
import { refusalsInWords } from "./refusals.js";

/** @typedef {import("./own_media.js").OwnMedia} OwnMedia */
/** @typedef {import("../media/devices.js").DeviceKind} DeviceKind */

export class Preview {
  #own;
  #asksName;
  #mayPublish;
  /** @type {MediaStreamTrack | null} */
  #measured = null;
  /** @type {() => void} */
  #stopMeasuring = () => {};
  #over = false;

  /**
   * @param {object} options
   * @param {OwnMedia} options.own
   * @param {string} options.room
   * @param {string} options.name suggested
   * @param {boolean} options.asksName false: the invitation says it
   * @param {boolean} options.mayPublish false: the invitation is to see and hear
   * @param {(name: string) => void} options.join
   */
  constructor({ own, room, name, asksName, mayPublish, join }) {
    this.#own = own;
    this.#asksName = asksName;
    this.#mayPublish = mayPublish;
    setText(byId("preview-room", HTMLElement), words("preview.room", { room }));
    const field = byId("name", HTMLInputElement);
    field.value = name;
    byId("name-field", HTMLElement).hidden = !asksName;
    byId("preview-devices", HTMLElement).hidden = !mayPublish;
    byId("join-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#checkName()) join(field.value.trim());
    });
    field.addEventListener("input", () => setText(byId("name-fault", HTMLElement), ""));
    this.#listen("camera", "preview-cameras");
    this.#listen("microphone", "preview-microphones");
    byId("refusal-retry", HTMLButtonElement).addEventListener("click", () => void own.open());
  }

  /** Show what is now. */
  async render() {
    if (this.#over) return;
    const own = this.#own;
    this.#showPicture();
    this.#showSwitch("camera", "camera", "camera-off");
    this.#showSwitch("microphone", "mic", "mic-off");
    this.#showRefusals();
    this.#measure(own.isOn("microphone") ? own.devices.device.microphone.track : null);
    byId("watch-only", HTMLElement).hidden = own.isOn("camera") || own.isOn("microphone");
    const found = await own.devices.list();
    const { camera, microphone } = own.devices.device;
    fillDevices(byId("preview-cameras", HTMLSelectElement), found.cameras, camera.deviceId);
    fillDevices(
      byId("preview-microphones", HTMLSelectElement),
      found.microphones,
      microphone.deviceId,
    );
  }

  /** @param {boolean} joining @param {string} [fault] why it did not work */
  setJoining(joining, fault = "") {
    const button = byId("join", HTMLButtonElement);
    button.disabled = joining;
    setText(button, words(joining ? "preview.joining" : "preview.join"));
    setText(byId("join-fault", HTMLElement), fault);
  }

  /** Not needed any longer. */
  close() {
    this.#over = true;
    this.#measure(null);
    byId("own-picture", HTMLVideoElement).srcObject = null;
  }

  /**
   * @param {DeviceKind} kind
   * @param {string} listId
   */
  #listen(kind, listId) {
    const button = byId(`preview-${kind}`, HTMLButtonElement);
    button.hidden = !this.#mayPublish;
    button.addEventListener("click", () => void this.#own.set(kind, !this.#own.isOn(kind)));
    const list = byId(listId, HTMLSelectElement);
    list.addEventListener("change", () => void this.#own.choose(kind, list.value));
  }

  #checkName() {
    if (!this.#asksName) return true;
    const field = byId("name", HTMLInputElement);
    const fault = personNameFault(field.value);
    setText(byId("name-fault", HTMLElement), fault ? words(`fault.name_${fault}`) : "");
    if (fault) {
      field.setAttribute("aria-invalid", "true");
      field.focus();
    } else field.removeAttribute("aria-invalid");
    return !fault;
  }

  #showPicture() {
    const track = this.#own.picture;
    const video = byId("own-picture", HTMLVideoElement);
    video.hidden = track === null;
    byId("no-picture", HTMLElement).hidden = track !== null;
    const stream = /** @type {MediaStream | null} */ (video.srcObject);
    if (stream?.getVideoTracks()[0] !== (track ?? undefined)) {
      video.srcObject = track ? new MediaStream([track]) : null;
    }
  }

  /**
   * @param {DeviceKind} kind
   * @param {string} onIcon
   * @param {string} offIcon
   */
  #showSwitch(kind, onIcon, offIcon) {
    const on = this.#own.isOn(kind);
    const button = byId(`preview-${kind}`, HTMLButtonElement);
    button.setAttribute("aria-pressed", String(on));
    const place = button.querySelector("[data-icon]");
    if (place) setIcon(place, on ? onIcon : offIcon);
  }

  #showRefusals() {
    const { device } = this.#own.devices;
    const of = (/** @type {DeviceKind} */ kind) =>
      this.#own.wished[kind] && this.#mayPublish ? device[kind].refusal : null;
    const entries = refusalsInWords(of("camera"), of("microphone"));
    const box = byId("refusal", HTMLElement);
    box.hidden = entries.length === 0;
    box.dataset["refusal"] = entries.map((e) => e.refusal).join(" ");
    const texts = entries.flatMap((e) => [
      make("strong", {}, e.title),
      make("p", {}, e.text),
    ]);
    byId("refusal-entries", HTMLElement).replaceChildren(...texts);
    const hopeless = entries.every((e) => ["insecure", "unsupported"].includes(e.refusal));
    byId("refusal-retry", HTMLButtonElement).hidden = hopeless;
  }

  /** @param {MediaStreamTrack | null} track */
  #measure(track) {
    if (track === this.#measured) return;
    this.#stopMeasuring();
    this.#measured = track;
    const meter = byId("meter", HTMLElement);
    const show = (/** @type {number} */ level) => {
      meter.setAttribute("aria-valuenow", String(Math.round(level * 100)));
      byId("meter-bar", HTMLElement).style.setProperty("--level", level.toFixed(3));
    };
    show(0);
    this.#stopMeasuring = track ? watchLevel(track, show) : () => {};
  }
}
