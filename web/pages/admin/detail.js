// One room in depth: its broadcast, its people and their tracks, its last events.
import { byId, make, setText } from "../page/dom.js";
import { notice } from "../page/frame.js";
import { callApi, withToken } from "../protocol/api.js";
import { roomLink } from "../protocol/names.js";
import { shownName } from "../protocol/room_state.js";
import { words, wordsForCode } from "../text/words.js";
import { Player } from "../watch/player.js";
import { ask } from "./ask.js";
import { EventFeed } from "./event_feed.js";
import { refocus, shortTime } from "./rooms_table.js";

/** @typedef {import("../protocol/types.js").RoomInfo} RoomInfo */
/** @typedef {import("../protocol/types.js").ParticipantInfo} ParticipantInfo */
/** @typedef {import("../protocol/types.js").TrackInfo} TrackInfo */
/** @typedef {import("../protocol/types.js").BroadcastInfo} BroadcastInfo */
/** @typedef {import("./event_feed.js").LedgerEvent} LedgerEvent */

const MOST_EVENTS = 100;
// Events come in bursts (a join brings its tracks along): read once per burst.
const SETTLE_MS = 150;

export class RoomDetail {
  #token;
  #closeRoom;
  #name = "";
  /** @type {EventFeed | null} */
  #feed = null;
  #timer = 0;
  #reading = 0;
  #shows = "";
  #pictured = "";
  #player;

  /**
   * @param {string} token
   * @param {(room: string) => void} closeRoom
   */
  constructor(token, closeRoom) {
    this.#token = token;
    this.#closeRoom = closeRoom;
    const nothing = () => {};
    this.#player = new Player(byId("thumb-video", HTMLVideoElement), {
      soundBlocked: nothing,
      interrupted: nothing,
      ended: nothing,
      changed: nothing,
      unable: (why) => notice(words(why === "refused" ? "watch.private" : `watch.${why}`)),
    });
    byId("close-room", HTMLElement).onclick = () => this.#closeRoom(this.#name);
    byId("broadcast-start", HTMLElement).onclick = () => void this.#act("POST", "/broadcast");
    byId("broadcast-stop", HTMLElement).onclick = () => void this.#stopBroadcast();
    byId("broadcast-picture", HTMLElement).onclick = () => {
      this.#showPicture(this.#pictured ? "" : (byId("broadcast-picture", HTMLElement).dataset["url"] ?? ""));
    };
  }

  /** @param {string} name the room to show */
  open(name) {
    this.close();
    this.#name = name;
    byId("detail-empty", HTMLElement).hidden = true;
    byId("detail-body", HTMLElement).hidden = false;
    byId("close-room", HTMLElement).hidden = false;
    setText(byId("detail-title", HTMLElement), name);
    byId("broadcast-watch", HTMLAnchorElement).href = roomLink("/watch/", name);
    this.#feed = new EventFeed(name, this.#token, (events) => this.#heard(events));
    void this.refresh();
  }

  close() {
    this.#feed?.close();
    this.#feed = null;
    this.#name = "";
    this.#shows = "";
    clearTimeout(this.#timer);
    this.#showPicture("");
    byId("events", HTMLElement).replaceChildren();
    byId("participant-rows", HTMLElement).replaceChildren();
    byId("events-empty", HTMLElement).hidden = false;
    byId("detail-body", HTMLElement).hidden = true;
    byId("close-room", HTMLElement).hidden = true;
    setText(byId("detail-title", HTMLElement), words("admin.room"));
    this.#say("admin.choose_room");
  }

  /** Read the room again. */
  async refresh() {
    const name = this.#name;
    const reading = ++this.#reading;
    if (!name) return;
    try {
      const [room, page] = await Promise.all([
        callApi("GET", this.#path(), { token: this.#token }),
        callApi("GET", `${this.#path()}/participants?limit=1000`, { token: this.#token }),
      ]);
      if (reading === this.#reading) this.#render(room, page.participants);
    } catch (error) {
      if (reading !== this.#reading) return;
      if (/** @type {{status?: number}} */ (error).status !== 404) return; // the list says it
      this.close();
      this.#say("admin.room_gone");
    }
  }

  #path() {
    return `/v1/rooms/${encodeURIComponent(this.#name)}`;
  }

  /** @param {import("../text/words.js").WordKey} key */
  #say(key) {
    const empty = byId("detail-empty", HTMLElement);
    empty.hidden = false;
    setText(empty, words(key));
  }

  /** @param {LedgerEvent[]} events */
  #heard(events) {
    const list = byId("events", HTMLElement);
    if (events.length > 0) byId("events-empty", HTMLElement).hidden = true;
    for (const event of events.slice(-MOST_EVENTS)) list.prepend(eventLine(event));
    while (list.children.length > MOST_EVENTS) list.lastElementChild?.remove();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), SETTLE_MS);
  }

  /**
   * @param {RoomInfo} room
   * @param {ParticipantInfo[]} participants
   */
  #render(room, participants) {
    const shows = JSON.stringify([room, participants]);
    if (shows === this.#shows) return;
    this.#shows = shows;
    const node = room.node ? ` · ${words("admin.node")}: ${room.node}` : "";
    const since = `${words("admin.since")}: ${shortTime(room.created_at)}`;
    setText(byId("detail-facts", HTMLElement), `${room.sid} · ${since}${node}`);
    this.#renderBroadcast(room.broadcast);
    const focused = document.activeElement?.getAttribute("data-focus");
    byId("participant-rows", HTMLElement).replaceChildren(...participants.map((p) => this.#row(p)));
    byId("participants-box", HTMLElement).hidden = participants.length === 0;
    byId("participants-empty", HTMLElement).hidden = participants.length > 0;
    if (focused) refocus(focused);
  }

  /** @param {BroadcastInfo | null} broadcast */
  #renderBroadcast(broadcast) {
    const state = broadcast?.state ?? "none";
    const line = byId("broadcast-state", HTMLElement);
    line.dataset["state"] = state;
    const time = broadcast ? shortTime(broadcast.started_at) : "";
    setText(line, words(`admin.broadcast_${state}`, { time }));
    const running = state === "requested" || state === "live";
    byId("broadcast-start", HTMLElement).hidden = running || state === "stopping";
    byId("broadcast-stop", HTMLElement).hidden = !running;
    const picture = byId("broadcast-picture", HTMLElement);
    picture.hidden = state !== "live";
    picture.dataset["url"] = broadcast?.url ?? "";
    if (state !== "live" && state !== "stopping") this.#showPicture("");
    this.#labelPicture();
  }

  /** @param {string} url empty: none */
  #showPicture(url) {
    if (url === this.#pictured) return;
    this.#pictured = url;
    byId("thumb", HTMLElement).hidden = !url;
    if (url) void this.#player.load(withToken(url, this.#token));
    else this.#player.stop();
    this.#labelPicture();
  }

  #labelPicture() {
    const button = byId("broadcast-picture", HTMLElement);
    button.setAttribute("aria-expanded", String(this.#pictured !== ""));
    setText(button, words(this.#pictured ? "admin.broadcast_hide" : "admin.broadcast_picture"));
  }

  /** @param {ParticipantInfo} participant */
  #row(participant) {
    const name = shownName(participant);
    const path = `/participants/${encodeURIComponent(participant.identity)}`;
    const remove = make(
      "button",
      { type: "button", "data-testid": "remove", "data-focus": `remove ${participant.identity}` },
      words("admin.remove"),
    );
    remove.setAttribute("aria-label", `${words("admin.remove")}: ${name}`);
    remove.onclick = async () => {
      if (await ask(words("admin.remove_sure", { name }))) await this.#act("DELETE", path);
    };
    const tracks = participant.tracks.map((track) => this.#track(track, path));
    return make(
      "tr",
      { "data-testid": "participant-row", "data-identity": participant.identity },
      make(
        "td",
        {},
        make("strong", {}, name),
        make("div", { class: "hint" }, `${participant.identity} · ${shortTime(participant.joined_at)}`),
      ),
      make("td", {}, make("ul", { class: "tracks" }, ...tracks)),
      make("td", {}, remove),
    );
  }

  /**
   * @param {TrackInfo} track
   * @param {string} path of its participant
   */
  #track(track, path) {
    const what = wordsForCode("admin.source", track.source) ?? track.source;
    const button = make(
      "button",
      { type: "button", "data-testid": "track-mute", "data-focus": `mute ${track.sid}` },
      words(track.muted ? "admin.unmute" : "admin.mute"),
    );
    button.setAttribute("aria-label", `${words(track.muted ? "admin.unmute" : "admin.mute")}: ${what}`);
    button.onclick = () => {
      void this.#act("PATCH", `${path}/tracks/${track.sid}`, { muted: !track.muted });
    };
    const state = track.muted ? ` (${words("room.muted")})` : "";
    return make(
      "li",
      { "data-testid": "track", "data-source": track.source, "data-muted": String(track.muted) },
      make("span", { class: "grow" }, `${what}${state}`, make("div", { class: "hint" }, track.mime)),
      button,
    );
  }

  async #stopBroadcast() {
    if (await ask(words("admin.broadcast_sure", { room: this.#name }))) {
      await this.#act("DELETE", "/broadcast");
    }
  }

  /**
   * @param {string} method
   * @param {string} path below the room's
   * @param {unknown} [body]
   */
  async #act(method, path, body) {
    try {
      await callApi(method, this.#path() + path, { token: this.#token, body });
    } catch (error) {
      notice(words("admin.failed", { detail: /** @type {Error} */ (error).message }));
    }
    await this.refresh();
  }
}

/** @param {LedgerEvent} event */
function eventLine(event) {
  return make(
    "li",
    { "data-testid": "event", "data-type": event.type },
    make("time", { datetime: event.ts }, shortTime(event.ts)),
    make("span", {}, event.type),
    make("code", {}, factsOf(event.data)),
  );
}

/**
 * What an event says, on one line: who first, then what.
 * @param {Record<string, any>} data
 * @returns {string}
 */
function factsOf(data) {
  const { identity, participant, track, settings: _settings, type: _type, ...rest } = data;
  const who = typeof participant === "object" ? shownName(participant) : identity;
  const what = typeof track === "object" ? `${track.source} ${track.mime}` : track;
  const others = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return [who, what, ...others].filter(Boolean).join(" ");
}
