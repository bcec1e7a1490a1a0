// The bar under the room: buttons, keys and dialogs. What they do is the page's business.
import { canShareScreen } from "../media/devices.js";
import { byId, setText } from "../page/dom.js";
import { setIcon } from "../page/icons.js";
import { words } from "../text/words.js";
import { fillDevices } from "./device_lists.js";
import { canChooseSpeaker } from "./sounds.js";

/** @typedef {import("./own_media.js").OwnMedia} OwnMedia */
/** @typedef {"microphone" | "camera" | "share" | "leave" | "help"} Action */

/** @type {Record<string, Action>} */
const KEYS = { m: "microphone", v: "camera", s: "share", l: "leave", h: "help" };

export class Controls {
  #own;
  #act;

  /**
   * @param {OwnMedia} own
   * @param {(action: Action, byKey: boolean) => void} act
   * @param {(deviceId: string) => void} speakerChosen
   */
  constructor(own, act, speakerChosen) {
    this.#own = own;
    this.#act = act;
    for (const action of /** @type {Action[]} */ (["microphone", "camera", "share", "leave"])) {
      byId(action, HTMLButtonElement).addEventListener("click", () => act(action, false));
    }
    byId("help", HTMLButtonElement).addEventListener("click", () => this.help());
    byId("devices", HTMLButtonElement).addEventListener("click", () => {
      void this.renderDevices();
      byId("device-dialog", HTMLDialogElement).showModal();
    });
    byId("people-button", HTMLButtonElement).addEventListener("click", () => this.#people());
    byId("people-close", HTMLButtonElement).addEventListener("click", () => this.#people());
    const cameras = byId("cameras", HTMLSelectElement);
    cameras.addEventListener("change", () => void own.choose("camera", cameras.value));
    const microphones = byId("microphones", HTMLSelectElement);
    microphones.addEventListener("change", () => void own.choose("microphone", microphones.value));
    const speakers = byId("speakers", HTMLSelectElement);
    speakers.addEventListener("change", () => speakerChosen(speakers.value));
    byId("speaker-field", HTMLElement).hidden = !canChooseSpeaker();
    addEventListener("keydown", (event) => this.#key(event));
  }

  help() {
    byId("help-dialog", HTMLDialogElement).showModal();
  }

  /**
   * @param {{mayPublish: boolean, hostMuted: {microphone: boolean, camera: boolean}}} state
   */
  render({ mayPublish, hostMuted }) {
    const microphone = this.#own.isOn("microphone") && !hostMuted.microphone;
    const camera = this.#own.isOn("camera") && !hostMuted.camera;
    this.#show("microphone", {
      off: !microphone,
      icon: microphone ? "mic" : "mic-off",
      text: words(microphone ? "bar.mute" : "bar.unmute"),
      key: "m",
      note: hostMuted.microphone ? words("room.muted_by_host") : "",
    });
    this.#show("camera", {
      off: !camera,
      icon: camera ? "camera" : "camera-off",
      text: words(camera ? "bar.camera_off" : "bar.camera_on"),
      key: "v",
      note: hostMuted.camera ? words("room.muted_by_host") : "",
    });
    this.#show("share", {
      off: false,
      icon: "share",
      text: words(this.#own.sharing ? "bar.share_stop" : "bar.share"),
      key: "s",
      note: "",
    });
    byId("share", HTMLElement).dataset["on"] = String(this.#own.sharing);
    byId("share", HTMLElement).hidden = !mayPublish || !canShareScreen();
    byId("microphone", HTMLElement).hidden = !mayPublish;
    byId("camera", HTMLElement).hidden = !mayPublish;
    byId("copy", HTMLElement).title = words("bar.link");
    byId("leave", HTMLElement).title = `${words("bar.leave")} (l)`;
    byId("help", HTMLElement).title = `${words("bar.help")} (h)`;
    byId("devices", HTMLElement).title = words("bar.devices");
    byId("people-button", HTMLElement).title = words("bar.people");
    if (byId("device-dialog", HTMLDialogElement).open) void this.renderDevices();
  }

  async renderDevices() {
    const found = await this.#own.devices.list();
    const { camera, microphone } = this.#own.devices.device;
    fillDevices(byId("cameras", HTMLSelectElement), found.cameras, camera.deviceId);
    fillDevices(byId("microphones", HTMLSelectElement), found.microphones, microphone.deviceId);
    fillDevices(byId("speakers", HTMLSelectElement), found.speakers, this.#own.speaker);
  }

  closeDialogs() {
    byId("device-dialog", HTMLDialogElement).close();
    byId("help-dialog", HTMLDialogElement).close();
  }

  /**
   * @param {string} id
   * @param {{off: boolean, icon: string, text: string, key: string, note: string}} how
   */
  #show(id, { off, icon, text, key, note }) {
    const button = byId(id, HTMLButtonElement);
    button.dataset["off"] = String(off);
    const place = button.querySelector("[data-icon]");
    if (place) setIcon(place, icon);
    const word = button.querySelector(".word");
    if (word) setText(word, text);
    button.title = note ? `${text} (${key}), ${note}` : `${text} (${key})`;
    button.dataset["mutedByHost"] = String(note !== "");
  }

  #people() {
    const list = byId("people", HTMLElement);
    list.hidden = !list.hidden;
    const button = byId("people-button", HTMLButtonElement);
    button.setAttribute("aria-expanded", String(!list.hidden));
    if (list.hidden) button.focus();
    else byId("people-close", HTMLButtonElement).focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape" && !byId("people", HTMLElement).hidden) {
      this.#people();
      return;
    }
    const action = KEYS[event.key.toLowerCase()];
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
    const held = event.ctrlKey || event.metaKey || event.altKey || event.repeat;
    const away = byId("meeting-page", HTMLElement).hidden || document.querySelector("dialog[open]");
    if (!action || typing || held || away) return;
    if (byId(action, HTMLButtonElement).hidden) return;
    event.preventDefault();
    this.#act(action, true);
  }
}
