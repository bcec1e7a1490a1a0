// The room page: preview, the room itself, and how it ended.
import { byId, copyText, setText } from "./page/dom.js";
import { notice, pageReady, preparePage } from "./page/frame.js";
import { ApiError } from "./protocol/api.js";
import { RoomCall } from "./protocol/call.js";
import { roomLink, roomNameFault, roomOfPath } from "./protocol/names.js";
import { guestToken, isHost, readToken, takeTokenFromAddress } from "./protocol/tokens.js";
import { Controls } from "./room/controls.js";
import { showEnding } from "./room/ending.js";
import { OwnMedia } from "./room/own_media.js";
import { PeopleList } from "./room/people.js";
import { Preview } from "./room/preview.js";
import { refusalWords } from "./room/refusals.js";
import { Sounds } from "./room/sounds.js";
import { TileBoard } from "./room/tiles.js";
import { soundsOf, tilesOf } from "./room/view.js";
import { words, wordsForCode } from "./text/words.js";

/** @typedef {import("./protocol/room_state.js").News} News */
/** @typedef {import("./media/devices.js").DeviceKind} DeviceKind */

const NAME_MEMORY = "tertulia.name";

preparePage();
const room = roomOfPath(location.pathname);
const TOKEN_MEMORY = `tertulia.token ${room}`; // loading the page again must not lose the invitation
const codec = new URLSearchParams(location.search).get("codec") ?? "";
const invitation = takeTokenFromAddress() ?? sessionStorage.getItem(TOKEN_MEMORY);
if (invitation) sessionStorage.setItem(TOKEN_MEMORY, invitation);
const mayPublish = readToken(invitation)?.video?.canPublish !== false;
document.title = `${room} · Tertulia`;
setText(byId("room-name", HTMLElement), room);

/** @type {RoomCall | null} */
let call = null;
/** @type {string | null} */
let token = invitation;
let name = "";
/** What the device buttons are busy with, so that a second press waits. */
let busy = false;

const own = new OwnMedia(render, (kind) => notice(words(`device.${kind}_lost`)));
const sounds = new Sounds(byId("sounds", HTMLElement), (blocked) => {
  byId("sound", HTMLElement).hidden = !blocked;
});
sounds.setSpeaker(own.speaker);
const board = new TileBoard(
  {
    boards: byId("boards", HTMLElement),
    grid: byId("grid", HTMLElement),
    stage: byId("stage", HTMLElement),
  },
  (page, pages) => {
    byId("pager", HTMLElement).hidden = pages < 2;
    setText(byId("page-number", HTMLElement), words("room.page", { page: page + 1, pages }));
    byId("page-before", HTMLButtonElement).disabled = page === 0;
    byId("page-next", HTMLButtonElement).disabled = page === pages - 1;
  },
);
const people = new PeopleList(room, isHost(invitation, room) ? invitation : null);
const preview = new Preview({
  own,
  room,
  name: localStorage.getItem(NAME_MEMORY) ?? "",
  asksName: invitation === null,
  mayPublish,
  join: (chosen) => {
    if (invitation === null) localStorage.setItem(NAME_MEMORY, chosen);
    name = chosen;
    void enter();
  },
});
const controls = new Controls(own, act, (deviceId) => {
  own.chooseSpeaker(deviceId);
  sounds.setSpeaker(deviceId);
});

byId("sound", HTMLElement).addEventListener("click", () => sounds.playAll());
byId("copy", HTMLElement).addEventListener("click", () => void copyLink());
byId("alone-copy", HTMLElement).addEventListener("click", () => void copyLink());
byId("page-before", HTMLElement).addEventListener("click", () => board.turn(-1));
byId("page-next", HTMLElement).addEventListener("click", () => board.turn(1));
addEventListener("pagehide", () => call?.leave());
// A page from the browser's back-forward memory has left its room.
addEventListener("pageshow", (event) => event.persisted && location.reload());

pageReady();
if (roomNameFault(room)) end("invalid_name", "");
else if (mayPublish) void own.open();
else render();

/** Join: from the preview, or again after an ending. */
async function enter() {
  preview.setJoining(true);
  try {
    token ??= await guestToken(room, name);
  } catch (error) {
    preview.setJoining(false, joinFault(error));
    if (document.body.dataset["state"] === "ended") end("server_gone", "");
    return;
  }
  if (document.body.dataset["state"] === "ended" && mayPublish) await own.open();
  call = new RoomCall({
    room,
    token,
    renew: invitation === null ? () => guestToken(room, name) : null,
    codec,
    listener: {
      changed: (news) => {
        for (const item of news) tell(item);
        render();
      },
      joined,
      reconnecting: (code) => {
        document.body.dataset["state"] = "reconnecting";
        const away = byId("away", HTMLElement);
        setText(away, wordsForCode("away", code) ?? words("away.lost"));
        away.hidden = false;
        preview.setJoining(true, away.textContent ?? "");
        render();
      },
      ended: end,
      media: render,
      mutedByHost: (source) => void stillMuted(source),
      refused: (error) => notice(words("news.publish_refused", { detail: error.message })),
    },
  });
  own.sendTo(call);
  call.start();
}

/** @param {unknown} error */
function joinFault(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.code === "unreachable") return words("end.server_gone");
  const closed = error.code === "permission_denied" || error.code === "token_missing";
  return closed ? words("start.closed") : error.message;
}

/** @param {boolean} again */
function joined(again) {
  document.body.dataset["state"] = "in";
  byId("preview-page", HTMLElement).hidden = true;
  byId("ending-page", HTMLElement).hidden = true;
  byId("meeting-page", HTMLElement).hidden = false;
  byId("away", HTMLElement).hidden = true;
  preview.close();
  if (again) notice(words("news.reconnected"));
  render();
}

/**
 * @param {string} code
 * @param {string} detail
 */
function end(code, detail) {
  document.body.dataset["state"] = "ended";
  call = null;
  if (code.startsWith("token_")) token = invitation; // a guest's next try gets a new one
  own.release();
  sounds.render([]);
  board.clear();
  controls.closeDialogs();
  preview.close();
  byId("preview-page", HTMLElement).hidden = true;
  byId("meeting-page", HTMLElement).hidden = true;
  showEnding(code, detail, () => void enter());
}

/**
 * @param {import("./room/controls.js").Action} action
 * @param {boolean} byKey
 */
function act(action, byKey) {
  if (action === "leave") {
    call?.leave();
    end("left", "");
  } else if (action === "help") {
    controls.help();
  } else if (!busy) {
    busy = true;
    const done = action === "share" ? share() : toggle(action, byKey);
    void done.finally(() => {
      busy = false;
    });
  }
}

/**
 * @param {DeviceKind} kind
 * @param {boolean} byKey
 */
async function toggle(kind, byKey) {
  const on = !own.isOn(kind);
  await own.set(kind, on);
  const refusal = own.devices.device[kind].refusal;
  if (on && refusal) {
    const { title, text } = refusalWords(refusal, kind);
    notice(`${title}. ${text}`);
  } else if (byKey) {
    const said = kind === "camera" ? ["news.camera_off", "news.camera_on"] : ["news.muted_off", "news.unmuted_on"];
    notice(words(/** @type {import("./text/words.js").WordKey} */ (said[on ? 1 : 0])));
  }
}

async function share() {
  if (own.sharing) {
    own.stopSharing();
    notice(words("news.share_ended"));
    return;
  }
  try {
    await own.share();
  } catch (error) {
    // Who closes the browser's question has changed their mind: nothing to explain.
    if (/** @type {Error} */ (error).name !== "NotAllowedError") notice(words("news.share_failed"));
  }
}

/** @param {import("./protocol/types.js").TrackSource} source an unmute that the host's mute outweighs */
async function stillMuted(source) {
  notice(words("news.still_muted"));
  // Not to be live all of a sudden when the host lifts it.
  if (source === "microphone" || source === "camera") await own.set(source, false);
}

/** @param {News} item */
function tell(item) {
  switch (item.kind) {
    case "joined":
      notice(words("news.joined", { name: item.name }));
      break;
    case "left":
      notice(words("news.left", { name: item.name }));
      break;
    case "sharing":
      if (!item.mine) notice(words("news.sharing", { name: item.name }));
      break;
    case "host_muted":
      notice(words(hostMutedKey(item.track.source)));
      break;
    case "host_unmuted":
      notice(words("news.host_unmuted"));
      break;
    case "broadcast":
      if (item.state === "live") notice(words("news.live"));
      if (item.state === "ended") notice(words("news.live_ended"));
      break;
    case "resync":
      break;
  }
}

/** @param {import("./protocol/types.js").TrackSource} source */
function hostMutedKey(source) {
  if (source === "camera") return "news.host_muted_camera";
  return source === "screen_share" ? "news.host_muted_screen" : "news.host_muted_microphone";
}

async function copyLink() {
  const link = location.origin + roomLink("/r/", room);
  notice((await copyText(link)) ? words("link.copied") : words("link.copy_failed", { link }));
}

function render() {
  const state = document.body.dataset["state"];
  if (state === "ended") return;
  if (state === "preview" || byId("meeting-page", HTMLElement).hidden) {
    void preview.render();
    return;
  }
  if (!call) return;
  const hostMuted = {
    microphone: call.isMutedByHost("microphone"),
    camera: call.isMutedByHost("camera"),
  };
  const tiles = tilesOf(call.state, call.tracks, {
    picture: own.picture,
    microphone: own.isOn("microphone"),
    sharing: own.sharing,
    hostMuted,
  });
  board.render(tiles);
  sounds.render(soundsOf(call.state, call.tracks));
  controls.render({ mayPublish, hostMuted });
  byId("alone", HTMLElement).hidden = tiles.length !== 1;
  renderPeople(tiles);
  renderBadge(call.state.room?.broadcast ?? null);
}

/** @param {import("./room/tiles.js").TileView[]} tiles */
function renderPeople(tiles) {
  const state = call?.state;
  if (!state) return;
  people.render(
    state.everybody().map((participant) => {
      const mine = participant.sid === state.me?.sid;
      const tile = tiles.find((t) => t.sid === participant.sid);
      const marks = [];
      if (participant.kind === "whip") marks.push(words("room.whip"));
      if (tile?.mutedByHost) marks.push(words("room.muted_by_host"));
      else if (tile?.microphone === "off") marks.push(words("room.muted"));
      else if (tile?.microphone === "none") marks.push(words("room.no_microphone"));
      if (tile && !tile.video) marks.push(words("room.camera_off"));
      return { participant, mine, marks };
    }),
  );
}

/** @param {import("./protocol/types.js").BroadcastInfo | null} broadcast */
function renderBadge(broadcast) {
  const badge = byId("live-badge", HTMLAnchorElement);
  const live = broadcast?.state === "live";
  badge.hidden = !live && broadcast?.state !== "requested";
  badge.classList.toggle("live", live);
  badge.dataset["state"] = broadcast?.state ?? "none";
  badge.href = roomLink("/watch/", room);
  setText(badge, words(live ? "bar.live" : "bar.live_soon"));
}
