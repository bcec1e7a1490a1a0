// The tiles of a room, in a grid with pages, and the stage of a shared screen.
import { make, setText } from "../page/dom.js";
import { icon } from "../page/icons.js";
import { hueOf, initials } from "../protocol/names.js";
import { words } from "../text/words.js";
import { arrange, capacity } from "./grid.js";

/**
 * What a tile shows.
 * @typedef {object} TileView
 * @property {string} key never changes while the tile is there
 * @property {"person" | "screen"} kind
 * @property {string} identity
 * @property {string} sid
 * @property {string} name as shown
 * @property {boolean} mine
 * @property {MediaStreamTrack | null} video
 * @property {"on" | "off" | "none"} microphone
 * @property {boolean} mutedByHost
 * @property {boolean} speaking
 */

const GAP_PX = 8;

class Tile {
  /** @param {TileView} view */
  constructor(view) {
    this.element = make("li", {
      class: view.mine && view.kind === "person" ? "tile mine" : "tile",
      "data-testid": view.kind === "screen" ? "screen" : "tile",
      "data-identity": view.identity,
      "data-sid": view.sid,
      "data-kind": view.kind,
    });
    this.video = make("video", {
      autoplay: true,
      playsinline: true,
      "data-testid": "tile-video",
      "aria-hidden": "true",
    });
    this.video.muted = true; // sound has elements of its own
    this.mark = make("span", { class: "mark", "data-testid": "tile-mark" });
    this.name = make("span", { class: "name", "data-testid": "tile-name" });
    this.said = make("span", { class: "hear-only" });
    const caption = make("div", { class: "caption" }, this.mark, this.name, this.said);
    if (view.kind === "person") this.element.append(avatar(view));
    else if (view.mine) this.element.append(ownScreen());
    this.element.append(this.video, caption);
  }

  /** @param {TileView} view */
  show(view) {
    const { element } = this;
    element.dataset["sid"] = view.sid;
    element.dataset["camera"] = view.video ? "on" : "off";
    element.dataset["muted"] = String(view.kind === "person" && view.microphone !== "on");
    element.dataset["mutedByHost"] = String(view.mutedByHost);
    element.dataset["speaking"] = String(view.speaking);
    setText(this.name, view.name);
    this.#mark(view);
    setText(this.said, statesOf(view).join(", "));
    const stream = /** @type {MediaStream | null} */ (this.video.srcObject);
    if (stream?.getVideoTracks()[0] === (view.video ?? undefined)) return;
    this.video.srcObject = view.video ? new MediaStream([view.video]) : null;
    if (view.video) this.video.play().catch(() => {}); // muted video may always play
  }

  release() {
    this.video.srcObject = null;
    this.element.remove();
  }

  /** @param {TileView} view */
  #mark(view) {
    const shown = view.kind === "person" && view.microphone !== "on";
    this.mark.hidden = !shown;
    this.mark.classList.toggle("host", view.mutedByHost);
    if (shown && !this.mark.firstChild) this.mark.append(icon("mic-off"));
  }
}

/** @param {TileView} view @returns {string[]} in words, for those who do not see */
function statesOf(view) {
  if (view.kind === "screen") return [];
  const states = [];
  if (view.mutedByHost) states.push(words("room.muted_by_host"));
  else if (view.microphone === "off") states.push(words("room.muted"));
  else if (view.microphone === "none") states.push(words("room.no_microphone"));
  if (!view.video) states.push(words("room.camera_off"));
  return states;
}

/** @param {TileView} view */
function avatar(view) {
  const circle = make("span", { class: "avatar", "aria-hidden": "true" }, initials(view.name));
  circle.style.setProperty("--hue", String(hueOf(view.identity)));
  return circle;
}

function ownScreen() {
  return make(
    "div",
    { class: "mine-screen" },
    make("h2", {}, words("room.my_screen")),
    make("p", { class: "soft" }, words("room.my_screen_lead")),
  );
}

export class TileBoard {
  #grid;
  #stage;
  #boards;
  #pagesChanged;
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {TileView[]} */
  #inGrid = [];
  #page = 0;
  #pages = 1;

  /**
   * @param {{boards: HTMLElement, grid: HTMLElement, stage: HTMLElement}} places
   * @param {(page: number, pages: number) => void} pagesChanged counted from 0
   */
  constructor({ boards, grid, stage }, pagesChanged) {
    this.#boards = boards;
    this.#grid = grid;
    this.#stage = stage;
    this.#pagesChanged = pagesChanged;
    new ResizeObserver(() => this.#layOut()).observe(grid);
  }

  /** @param {TileView[]} views in the order in which they stand */
  render(views) {
    const screens = views.filter((v) => v.kind === "screen");
    const onStage = screens.at(-1) ?? null; // the newest
    this.#inGrid = views.filter((v) => v !== onStage);
    const keys = new Set(views.map((v) => v.key));
    for (const [key, tile] of this.#tiles) {
      if (keys.has(key)) continue;
      tile.release();
      this.#tiles.delete(key);
    }
    for (const view of views) this.#tileOf(view).show(view);
    this.#setStage(onStage);
    this.#layOut();
  }

  clear() {
    this.render([]);
  }

  /** @param {number} step */
  turn(step) {
    this.#page += step;
    this.#layOut();
  }

  /** @param {TileView} view */
  #tileOf(view) {
    let tile = this.#tiles.get(view.key);
    if (!tile) {
      tile = new Tile(view);
      this.#tiles.set(view.key, tile);
    }
    return tile;
  }

  /** @param {TileView | null} view */
  #setStage(view) {
    this.#stage.hidden = view === null;
    this.#boards.dataset["stage"] = String(view !== null);
    const wanted = view ? this.#tileOf(view).element : null;
    if (this.#stage.firstElementChild === wanted) return;
    this.#stage.replaceChildren();
    if (wanted) this.#stage.append(wanted);
  }

  #layOut() {
    const { width, height } = this.#grid.getBoundingClientRect();
    if (width === 0 || height === 0) return;
    const most = capacity(width, height, GAP_PX);
    this.#pages = Math.max(1, Math.ceil(this.#inGrid.length / most));
    this.#page = Math.min(Math.max(this.#page, 0), this.#pages - 1);
    const shown = this.#inGrid.slice(this.#page * most, (this.#page + 1) * most);
    this.#place(shown.map((view) => this.#tileOf(view).element));
    // The last page keeps the size of the others: turning must not make tiles jump.
    const count = this.#pages > 1 ? most : shown.length;
    if (count > 0) {
      const { tileWidth, tileHeight } = arrange(count, width, height, GAP_PX);
      this.#grid.style.setProperty("--tile-width", `${tileWidth}px`);
      this.#grid.style.setProperty("--tile-height", `${tileHeight}px`);
    }
    this.#pagesChanged(this.#page, this.#pages);
  }

  /** Put *elements* into the grid, moving only what is out of place: a moved video flickers.
   * @param {HTMLElement[]} elements */
  #place(elements) {
    const wanted = new Set(/** @type {Element[]} */ (elements));
    for (const child of [...this.#grid.children]) if (!wanted.has(child)) child.remove();
    elements.forEach((element, i) => {
      const there = this.#grid.children[i];
      if (there === element) return;
      this.#grid.insertBefore(element, there ?? null);
      const video = element.querySelector("video");
      if (video?.srcObject) video.play().catch(() => {}); // taken out, it was paused
    });
  }
}
