// The admin page: sign in with a token, then rooms, one room in depth, and nodes, as they change.
import { ask } from "./admin/ask.js";
import { RoomDetail } from "./admin/detail.js";
import { renderNodes, RoomsTable } from "./admin/rooms_table.js";
import { byId, setText } from "./page/dom.js";
import { notice, pageReady, preparePage } from "./page/frame.js";
import { ApiError, callApi } from "./protocol/api.js";
import { roomNameFault, tidyRoomName } from "./protocol/names.js";
import { takeTokenFromAddress } from "./protocol/tokens.js";
import { words } from "./text/words.js";

const TOKEN_MEMORY = "tertulia.admin_token";
const EVERY_MS = 2_000;
const MOST_ROOMS = 1000;

preparePage();
document.title = `${words("admin.title")} · Tertulia`;
let token = takeTokenFromAddress() ?? sessionStorage.getItem(TOKEN_MEMORY) ?? "";
let timer = 0;
/** @type {RoomDetail | null} */
let detail = null;
const table = new RoomsTable(choose, (room) => void closeRoom(room));

byId("sign-in", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token", HTMLInputElement).value.trim();
  if (token) void signIn();
  else refuse(words("admin.token_empty"));
});
byId("sign-out", HTMLElement).addEventListener("click", () => signOut(""));
byId("create", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void createRoom();
});
byId("new-room", HTMLInputElement).addEventListener("input", () => fault(""));

pageReady();
if (token) void signIn();

async function signIn() {
  const answer = await readAll();
  if (!answer) return;
  sessionStorage.setItem(TOKEN_MEMORY, token);
  byId("token", HTMLInputElement).value = "";
  refuse("");
  detail = new RoomDetail(token, (room) => void closeRoom(room));
  detail.close(); // says what to do
  showSigned(true);
  render(answer);
  timer = setTimeout(tick, EVERY_MS);
}

/** @param {string} why empty: the person wished it */
function signOut(why) {
  clearTimeout(timer);
  detail?.close();
  detail = null;
  table.chosen = "";
  token = "";
  sessionStorage.removeItem(TOKEN_MEMORY);
  showSigned(false);
  refuse(why);
}

/** @param {boolean} signed */
function showSigned(signed) {
  document.body.dataset["state"] = signed ? "signed-in" : "signed-out";
  byId("console", HTMLElement).classList.toggle("signed", signed);
  byId("sign-in", HTMLElement).hidden = signed;
  for (const id of ["sign-out", "rooms", "detail", "nodes"]) byId(id, HTMLElement).hidden = !signed;
  if (!signed) byId("away", HTMLElement).hidden = true;
}

/** @param {string} text */
function refuse(text) {
  setText(byId("token-fault", HTMLElement), text);
}

async function tick() {
  const answer = await readAll();
  if (answer) render(answer);
  if (token) timer = setTimeout(tick, EVERY_MS);
}

/**
 * @returns {Promise<{rooms: import("./protocol/types.js").RoomInfo[],
 *   nodes: import("./admin/rooms_table.js").NodeInfo[]} | null>} null: said so on the page
 */
async function readAll() {
  try {
    const [rooms, nodes] = await Promise.all([
      callApi("GET", `/v1/rooms?limit=${MOST_ROOMS}`, { token }),
      callApi("GET", "/v1/nodes", { token }),
    ]);
    byId("away", HTMLElement).hidden = true;
    return { rooms: rooms.rooms, nodes: nodes.nodes };
  } catch (error) {
    const { status, message } = /** @type {ApiError} */ (error);
    if (status === 401 || status === 403) signOut(words("admin.refused", { detail: message }));
    else if (detail) byId("away", HTMLElement).hidden = false;
    else refuse(words("end.server_gone"));
    return null;
  }
}

/** @param {{rooms: import("./protocol/types.js").RoomInfo[], nodes: import("./admin/rooms_table.js").NodeInfo[]}} answer */
function render({ rooms, nodes }) {
  table.setRooms(rooms);
  renderNodes(nodes);
  // Usually an event came first; this heals a lost event connection, and sees the room's end.
  if (table.chosen) void detail?.refresh();
  if (table.chosen && !rooms.some((r) => r.name === table.chosen)) {
    table.chosen = "";
    table.render();
  }
}

/** @param {string} room */
function choose(room) {
  table.chosen = room;
  table.render();
  detail?.open(room);
}

async function createRoom() {
  const field = byId("new-room", HTMLInputElement);
  const name = tidyRoomName(field.value);
  const wrong = roomNameFault(name);
  fault(wrong ? words(`fault.room_${wrong}`) : "");
  if (wrong) {
    field.focus();
    return;
  }
  const most = Math.max(0, Math.trunc(Number(byId("most", HTMLInputElement).value) || 0));
  try {
    await callApi("POST", "/v1/rooms", {
      token,
      body: { name, settings: { max_participants: most } },
    });
  } catch (error) {
    fault(/** @type {Error} */ (error).message);
    return;
  }
  field.value = "";
  notice(words("admin.created", { room: name }));
  await readNow();
  choose(name);
}

/** @param {string} room */
async function closeRoom(room) {
  if (!(await ask(words("admin.close_sure", { room })))) return;
  try {
    await callApi("DELETE", `/v1/rooms/${encodeURIComponent(room)}`, { token });
    notice(words("admin.closed", { room }));
  } catch (error) {
    notice(words("admin.failed", { detail: /** @type {Error} */ (error).message }));
  }
  await readNow();
}

async function readNow() {
  const answer = await readAll();
  if (answer) render(answer);
}

/** @param {string} text */
function fault(text) {
  setText(byId("new-room-fault", HTMLElement), text);
  const field = byId("new-room", HTMLInputElement);
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}
