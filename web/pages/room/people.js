// The list of people, with the host's actions for those whose invitation makes them one.
import { byId, make, setText } from "../page/dom.js";
import { notice } from "../page/frame.js";
import { callApi } from "../protocol/api.js";
import { shownName, trackOf } from "../protocol/room_state.js";
import { words } from "../text/words.js";

/** @typedef {import("../protocol/types.js").ParticipantInfo} ParticipantInfo */
/** @typedef {{participant: ParticipantInfo, mine: boolean, marks: string[]}} Row */

export class PeopleList {
  #room;
  #token;
  #shows = "";

  /**
   * @param {string} room
   * @param {string | null} hostToken null: without the host's actions
   */
  constructor(room, hostToken) {
    this.#room = room;
    this.#token = hostToken;
  }

  /** @param {Row[]} rows */
  render(rows) {
    setText(byId("people-title", HTMLElement), `${words("room.people")} (${rows.length})`);
    const shows = JSON.stringify(rows);
    if (shows === this.#shows) return; // nobody loses the focus for nothing
    this.#shows = shows;
    byId("people-list", HTMLElement).replaceChildren(...rows.map((row) => this.#line(row)));
  }

  /** @param {Row} row */
  #line({ participant, mine, marks }) {
    const name = shownName(participant);
    const who = make(
      "span",
      { class: "who" },
      mine ? words("room.you", { name }) : name,
      make("span", { class: "marks" }, marks.join(", ")),
    );
    const line = make(
      "li",
      { "data-testid": "person", "data-identity": participant.identity },
      who,
    );
    if (this.#token && !mine) line.append(...this.#actions(participant, name));
    return line;
  }

  /**
   * @param {ParticipantInfo} participant
   * @param {string} name
   */
  #actions(participant, name) {
    const path = `/v1/rooms/${encodeURIComponent(this.#room)}/participants/${encodeURIComponent(participant.identity)}`;
    const remove = make("button", { type: "button", "data-testid": "person-remove" });
    remove.append(words("room.remove_somebody"));
    remove.addEventListener("click", () => {
      if (confirm(words("room.remove_sure", { name }))) void this.#call("DELETE", path);
    });
    const microphone = trackOf(participant, "microphone");
    if (!microphone || microphone.muted) return [remove];
    const mute = make("button", { type: "button", "data-testid": "person-mute" });
    mute.append(words("room.mute_somebody"));
    mute.addEventListener("click", () => {
      void this.#call("PATCH", `${path}/tracks/${microphone.sid}`, { muted: true });
    });
    return [mute, remove];
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   */
  async #call(method, path, body) {
    try {
      await callApi(method, path, { token: this.#token, body });
    } catch (error) {
      notice(words("admin.failed", { detail: /** @type {Error} */ (error).message }));
    }
  }
}
