// The watch page: waits for the broadcast, plays it at the live edge, says when it is over.
import { byId, make, setText } from "./page/dom.js";
import { preparePage } from "./page/frame.js";
import { setIcon } from "./page/icons.js";
import { withToken } from "./protocol/api.js";
import { roomLink, roomOfPath } from "./protocol/names.js";
import { takeTokenFromAddress } from "./protocol/tokens.js";
import { words } from "./text/words.js";
import { LiveFeed } from "./watch/live_feed.js";
import { Player } from "./watch/player.js";

/** @typedef {"waiting" | "starting" | "playing" | "ended" | "private" | "gone" | "no_player" | "unsupported"} PageState */

const BACK_S = 10;
// The last parts are still on their way when the server says that it ended.
const TAIL_MS = 15_000;
const RENDER_MS = 500;

preparePage();
const room = roomOfPath(location.pathname);
const TOKEN_MEMORY = `tertulia.watch ${room}`;
const token = takeTokenFromAddress() ?? sessionStorage.getItem(TOKEN_MEMORY);
if (token) sessionStorage.setItem(TOKEN_MEMORY, token);
document.title = `${words("watch.title", { room })} · Tertulia`;
setText(byId("title", HTMLElement), words("watch.title", { room }));
setText(byId("room-name", HTMLElement), room);
byId("join", HTMLAnchorElement).href = roomLink("/r/", room);

const video = byId("video", HTMLVideoElement);
video.setAttribute("aria-label", words("watch.video", { room }));
/** @type {PageState} */
let state = "waiting";
let playing = ""; // what is loaded: broadcast sid and address
let tailTimer = 0;

const player = new Player(video, {
  soundBlocked: (blocked) => {
    byId("unmute", HTMLElement).hidden = !blocked || state !== "playing";
  },
  interrupted: (broken) => {
    byId("broken", HTMLElement).hidden = !broken || state !== "playing";
  },
  ended: finish,
  unable: (why) => show(why === "refused" ? "private" : why),
  changed: renderBar,
});

new LiveFeed(room, token, {
  state: follow,
  refused: () => stopAndShow("private"),
  away: (away) => {
    if (state === "playing") return; // the player says so itself, if it cannot go on either
    if (away) show("gone");
    else if (state === "gone") show("waiting");
  },
});

/** @param {import("./watch/live_feed.js").LiveState} live */
function follow(live) {
  clearTimeout(tailTimer);
  const wanted = `${live.sid ?? ""} ${live.url ?? ""}`;
  switch (live.state) {
    case "live":
      // A second "live" for what is playing already comes after a reconnect.
      if (state === "playing" && playing === wanted) return;
      playing = wanted;
      show("playing");
      void player.load(withToken(live.url ?? "", token));
      break;
    case "requested":
      stopAndShow("starting");
      break;
    case "ended":
      if (state === "playing") tailTimer = setTimeout(finish, TAIL_MS);
      else show("ended");
      break;
    case "none":
      stopAndShow("waiting");
      break;
    case "stopping":
      if (state !== "playing") show("ended");
      break;
  }
}

function finish() {
  if (state === "playing") stopAndShow("ended");
}

/** @param {PageState} next */
function stopAndShow(next) {
  clearTimeout(tailTimer);
  playing = "";
  player.stop();
  show(next);
}

/** @param {PageState} next */
function show(next) {
  state = next;
  document.body.dataset["state"] = next;
  const covered = next !== "playing";
  byId("cover", HTMLElement).hidden = !covered;
  byId("watchbar", HTMLElement).hidden = covered;
  if (!covered) return;
  byId("unmute", HTMLElement).hidden = true;
  byId("broken", HTMLElement).hidden = true;
  setText(byId("cover-title", HTMLElement), words(`watch.${next}_title`));
  setText(byId("cover-text", HTMLElement), words(`watch.${next}`, { room }));
}

function renderBar() {
  label("play", video.paused ? "play" : "pause", words(video.paused ? "watch.play" : "watch.pause"));
  const silent = video.muted || video.volume === 0;
  label("sound", silent ? "sound-off" : "sound", words(silent ? "watch.sound" : "watch.mute"));
  const field = byId("quality-field", HTMLElement);
  const names = player.qualities;
  field.hidden = names.length === 0;
  const list = byId("quality", HTMLSelectElement);
  if (list.options.length !== names.length + 1) {
    const automatic = make("option", { value: "-1" }, words("watch.quality_auto"));
    const others = names.map((name, i) => make("option", { value: String(i) }, name));
    list.replaceChildren(automatic, ...others);
  }
}

/**
 * @param {string} id
 * @param {string} icon
 * @param {string} text
 */
function label(id, icon, text) {
  const button = byId(id, HTMLButtonElement);
  const place = button.querySelector("[data-icon]");
  if (place) setIcon(place, icon);
  button.setAttribute("aria-label", text);
  button.title = text;
}

function renderLatency() {
  const behind = state === "playing" ? player.behindS : null;
  const text = behind === null ? "" : words("watch.behind", { seconds: behind.toFixed(1) });
  setText(byId("behind", HTMLElement), text);
  byId("behind", HTMLElement).dataset["seconds"] = behind === null ? "" : behind.toFixed(2);
  byId("live", HTMLElement).dataset["atEdge"] = String(state === "playing" && player.atEdge);
}

byId("play", HTMLElement).addEventListener("click", () => {
  if (video.paused) void player.play();
  else video.pause();
});
byId("sound", HTMLElement).addEventListener("click", () => player.setMuted(!video.muted));
byId("unmute", HTMLElement).addEventListener("click", () => player.setMuted(false));
byId("volume", HTMLInputElement).addEventListener("input", (event) => {
  video.volume = Number(/** @type {HTMLInputElement} */ (event.target).value);
  player.setMuted(video.volume === 0);
});
byId("back", HTMLElement).addEventListener("click", () => {
  const first = video.seekable.length > 0 ? video.seekable.start(0) : 0;
  video.currentTime = Math.max(first, video.currentTime - BACK_S);
});
byId("live", HTMLElement).addEventListener("click", () => player.goLive());
byId("quality", HTMLSelectElement).addEventListener("change", (event) => {
  player.chooseQuality(Number(/** @type {HTMLSelectElement} */ (event.target).value));
});
byId("pip", HTMLElement).hidden = !document.pictureInPictureEnabled;
byId("pip", HTMLElement).addEventListener("click", () => {
  if (document.pictureInPictureElement) void document.exitPictureInPicture();
  else void video.requestPictureInPicture().catch(() => {}); // not before the first picture
});
byId("fullscreen", HTMLElement).addEventListener("click", () => {
  const box = byId("player", HTMLElement);
  if (document.fullscreenElement) void document.exitFullscreen();
  else if (typeof box.requestFullscreen === "function") void box.requestFullscreen();
  // An iPhone has full screen for its own player only.
  else /** @type {any} */ (video).webkitEnterFullscreen?.();
});
video.addEventListener("click", () => !byId("unmute", HTMLElement).hidden && player.setMuted(false));

show("waiting");
renderBar();
setInterval(renderLatency, RENDER_MS);
