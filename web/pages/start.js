// The start page: name a room and yourself, then join or watch.
import { byId, copyText, setText } from "./page/dom.js";
import { notice, pageReady, preparePage } from "./page/frame.js";
import { personNameFault, roomLink, roomNameFault, tidyRoomName } from "./protocol/names.js";
import { words } from "./text/words.js";

const NAME_MEMORY = "tertulia.name";
const ROOM_MEMORY = "tertulia.room";

preparePage();
const room = byId("room", HTMLInputElement);
const name = byId("name", HTMLInputElement);
name.value = localStorage.getItem(NAME_MEMORY) ?? "";
room.value = new URLSearchParams(location.search).get("room") ?? localStorage.getItem(ROOM_MEMORY) ?? "";
(room.value ? name : room).focus({ preventScroll: true });

/**
 * @param {HTMLInputElement} field
 * @param {string} text empty: nothing is wrong
 */
function show(field, text) {
  setText(byId(`${field.id}-fault`, HTMLElement), text);
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

/** @returns {string | null} the room's name, or null after saying what is wrong with it */
function checkedRoom() {
  room.value = tidyRoomName(room.value);
  const fault = roomNameFault(room.value);
  show(room, fault ? words(`fault.room_${fault}`) : "");
  if (fault) room.focus();
  return fault ? null : room.value;
}

/** @returns {string | null} */
function checkedName() {
  const fault = personNameFault(name.value);
  show(name, fault ? words(`fault.name_${fault}`) : "");
  if (fault) name.focus();
  return fault ? null : name.value.trim();
}

byId("form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const person = checkedName();
  const named = checkedRoom();
  if (named === null || person === null) return;
  localStorage.setItem(NAME_MEMORY, person);
  localStorage.setItem(ROOM_MEMORY, named);
  location.assign(roomLink("/r/", named));
});

byId("watch", HTMLButtonElement).addEventListener("click", () => {
  show(name, ""); // watching needs no name
  const named = checkedRoom();
  if (named === null) return;
  localStorage.setItem(ROOM_MEMORY, named);
  location.assign(roomLink("/watch/", named));
});

byId("copy", HTMLButtonElement).addEventListener("click", async () => {
  const named = checkedRoom();
  if (named === null) return;
  const link = location.origin + roomLink("/r/", named);
  notice((await copyText(link)) ? words("link.copied") : words("link.copy_failed", { link }));
});

for (const field of [room, name]) field.addEventListener("input", () => show(field, ""));
pageReady();
