// The rooms and the nodes at a glance.
import { byId, make, setText } from "../page/dom.js";
import { roomLink } from "../protocol/names.js";
import { language, words, wordsForCode } from "../text/words.js";

/** @typedef {import("../protocol/types.js").RoomInfo} RoomInfo */
/** @typedef {{id: string, kind: string, started_at: string, rooms: number, load: number, draining: boolean}} NodeInfo */

/** @param {string} time RFC 3339 */
export function shortTime(time) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return "";
  // "en" alone would write months first for those who do not.
  const locale = navigator.languages.find((l) => l.startsWith(language)) ?? language;
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString(locale) : date.toLocaleString(locale);
}

export class RoomsTable {
  #choose;
  #close;
  /** @type {RoomInfo[]} */
  #rooms = [];
  #shows = "";

  /**
   * @param {(room: string) => void} choose
   * @param {(room: string) => void} close
   */
  constructor(choose, close) {
    this.#choose = choose;
    this.#close = close;
    this.chosen = "";
    byId("filter", HTMLInputElement).addEventListener("input", () => this.render());
  }

  /** @param {RoomInfo[]} rooms */
  setRooms(rooms) {
    this.#rooms = rooms;
    this.render();
  }

  render() {
    const filter = byId("filter", HTMLInputElement).value.trim().toLocaleLowerCase();
    const fitting = this.#rooms.filter((r) => r.name.toLocaleLowerCase().includes(filter));
    const empty = byId("rooms-empty", HTMLElement);
    empty.hidden = fitting.length > 0;
    setText(empty, words(this.#rooms.length === 0 ? "admin.rooms_empty" : "admin.no_match"));
    const shows = JSON.stringify([this.chosen, fitting]);
    if (shows === this.#shows) return;
    this.#shows = shows;
    const focused = document.activeElement?.getAttribute("data-focus");
    byId("room-rows", HTMLElement).replaceChildren(...fitting.map((room) => this.#row(room)));
    if (focused) refocus(focused);
  }

  /** @param {RoomInfo} room */
  #row(room) {
    const name = make(
      "button",
      { type: "button", class: "link", "data-testid": "room-open", "data-focus": `open ${room.name}` },
      room.name,
    );
    name.addEventListener("click", () => this.#choose(room.name));
    const close = make(
      "button",
      { type: "button", "data-testid": "room-close", "data-focus": `close ${room.name}` },
      words("admin.close_short"),
    );
    close.setAttribute("aria-label", `${words("admin.close_room")}: ${room.name}`);
    close.addEventListener("click", () => this.#close(room.name));
    const most = room.settings.max_participants;
    const people = most > 0 ? `${room.num_participants} / ${most}` : String(room.num_participants);
    return make(
      "tr",
      {
        "data-testid": "room-row",
        "data-room": room.name,
        "aria-current": room.name === this.chosen ? "true" : false,
      },
      make("td", {}, name),
      make("td", { class: "number" }, people),
      make("td", {}, broadcastCell(room)),
      make("td", { class: "less" }, shortTime(room.created_at)),
      make("td", {}, close),
    );
  }
}

/** @param {RoomInfo} room */
function broadcastCell(room) {
  const state = room.broadcast?.state;
  if (state !== "live") return state ? (wordsForCode("admin.state", state) ?? state) : "";
  const link = make("a", { class: "badge live", href: roomLink("/watch/", room.name), target: "_blank" });
  link.rel = "noopener";
  link.append(words("bar.live"));
  return link;
}

/** @param {string} mark */
export function refocus(mark) {
  for (const element of document.querySelectorAll("[data-focus]")) {
    if (element.getAttribute("data-focus") === mark) /** @type {HTMLElement} */ (element).focus();
  }
}

/** @param {NodeInfo[]} nodes */
export function renderNodes(nodes) {
  byId("nodes-empty", HTMLElement).hidden = nodes.length > 0;
  const rows = nodes.map((node) =>
    make(
      "tr",
      { "data-testid": "node-row", "data-node": node.id },
      make("td", {}, node.draining ? `${node.id} (${words("admin.draining")})` : node.id),
      make("td", {}, node.kind),
      make("td", { class: "number" }, String(node.rooms)),
      make("td", { class: "number" }, node.load.toFixed(2)),
      make("td", {}, shortTime(node.started_at)),
    ),
  );
  byId("node-rows", HTMLElement).replaceChildren(...rows);
}
