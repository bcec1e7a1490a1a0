// Filling the drop-down lists of devices.
import { make } from "../page/dom.js";
import { words } from "../text/words.js";

/**
 * Show *devices* in *list*, with *chosen* selected, unless it shows just that already.
 * @param {HTMLSelectElement} list
 * @param {MediaDeviceInfo[]} devices
 * @param {string} chosen device id
 */
export function fillDevices(list, devices, chosen) {
  const options = devices.map((device, i) => ({
    value: device.deviceId,
    // Without permission there are no labels.
    text: device.label || `${labelOf(device.kind)} ${i + 1}`,
  }));
  if (options.length === 0) options.push({ value: "", text: words("device.none") });
  else if (!options.some((o) => o.value === chosen)) {
    options.unshift({ value: "", text: words("device.default") });
  }
  const key = JSON.stringify(options);
  if (list.dataset["shows"] !== key) {
    list.dataset["shows"] = key;
    list.replaceChildren(...options.map((o) => make("option", { value: o.value }, o.text)));
  }
  list.disabled = devices.length === 0;
  list.value = options.some((o) => o.value === chosen) ? chosen : "";
}

/** @param {MediaDeviceKind} kind */
function labelOf(kind) {
  if (kind === "videoinput") return words("device.camera");
  return words(kind === "audioinput" ? "device.microphone" : "device.speaker");
}
