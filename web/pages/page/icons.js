// The pictures on buttons: our own strokes on a grid of 24.

/** @type {Record<string, string>} */
const PATHS = {
  mic: "M12 3a3 3 0 0 1 3 3v6a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3zM5 11v1a7 7 0 0 0 14 0v-1M12 19v3",
  "mic-off":
    "M9 9v3a3 3 0 0 0 5 2.2M15 11V6a3 3 0 0 0-5.7-1.3M5 11v1a7 7 0 0 0 11.5 5.4M19 11v1a7 7 0 0 1-.6 2.8M12 19v3M3 3l18 18",
  camera: "M3 7h11a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H3zM15 11l6-3.5v9L15 13",
  "camera-off":
    "M9.5 7H14a1 1 0 0 1 1 1v4.5M15 11l6-3.5v9l-3-1.8M14.5 17H3V7h2M3 3l18 18",
  share: "M3 5h18v12H3zM9 21h6M12 14V8.5M9 11l3-3 3 3",
  settings:
    "M4 7h9M17 7h3M4 17h3M11 17h9M13 7a2 2 0 1 0 4 0 2 2 0 0 0-4 0zM7 17a2 2 0 1 0 4 0 2 2 0 0 0-4 0z",
  people:
    "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M16 4.4a3.5 3.5 0 0 1 0 6.2M18.5 14.8c1.9.9 3 2.7 3 5.2",
  link: "M10 14a4 4 0 0 0 5.7 0l3.6-3.6a4 4 0 0 0-5.7-5.7L12 6.3M14 10a4 4 0 0 0-5.7 0l-3.6 3.6a4 4 0 0 0 5.7 5.7l1.6-1.6",
  help: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9.5 9.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M12 17v.1",
  leave: "M14 4h4a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-4M15 12H4M8 8l-4 4 4 4",
  close: "M6 6l12 12M18 6L6 18",
  before: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  play: "M7 4.5v15l12-7.5z",
  pause: "M8 5v14M16 5v14",
  sound: "M4 9.5v5h4l5 4v-13l-5 4zM16.5 9a4 4 0 0 1 0 6M19 6.5a8 8 0 0 1 0 11",
  "sound-off": "M4 9.5v5h4l5 4v-13l-5 4zM16.5 9.5l5 5M21.5 9.5l-5 5",
  back: "M4 5v5h5M4.6 10a8 8 0 1 1-.4 4",
  fullscreen: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  pip: "M3 5h18v14H3zM12 12h6v4h-6z",
  theme: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 3v18M12 7.5h6.5M12 12h9M12 16.5h6.5",
  alert: "M12 3.5L22 20H2zM12 10v4.5M12 17.3v.1",
};

/** @param {string} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name] ?? "");
  svg.append(path);
  return svg;
}

/** Put the pictures where the HTML marks them with data-icon. */
export function fillIcons() {
  for (const place of document.querySelectorAll("[data-icon]")) {
    place.replaceChildren(icon(place.getAttribute("data-icon") ?? ""));
  }
}

/**
 * @param {Element} place with data-icon
 * @param {string} name
 */
export function setIcon(place, name) {
  if (place.getAttribute("data-icon") === name) return;
  place.setAttribute("data-icon", name);
  place.replaceChildren(icon(name));
}
