// From what is known of the room to what its tiles, sounds and list show. No DOM.
import { shownName, trackOf } from "../protocol/room_state.js";
import { words } from "../text/words.js";

/** @typedef {import("./tiles.js").TileView} TileView */
/** @typedef {import("../protocol/types.js").ParticipantInfo} ParticipantInfo */
/** @typedef {import("../protocol/room_state.js").RoomState} RoomState */
/**
 * @typedef {object} Mine what we send, as we know it before the server does
 * @property {MediaStreamTrack | null} picture
 * @property {boolean} microphone
 * @property {boolean} sharing
 * @property {{microphone: boolean, camera: boolean}} hostMuted
 */

// Below it, noise; the server sends who speaks, loudest first.
const SPEAKS_FROM = 0.02;

/**
 * @param {RoomState} state
 * @param {ReadonlyMap<string, MediaStreamTrack>} arriving by track sid
 * @param {Mine} mine
 * @returns {TileView[]}
 */
export function tilesOf(state, arriving, mine) {
  const people = state.everybody().filter((p) => p.kind !== "whep");
  return [
    ...people.map((p) => personTile(p, state, arriving, mine)),
    ...people.flatMap((p) => screenTiles(p, state, arriving, mine)),
  ];
}

/**
 * @param {ParticipantInfo} person
 * @param {RoomState} state
 * @param {ReadonlyMap<string, MediaStreamTrack>} arriving
 * @param {Mine} mine
 * @returns {TileView}
 */
function personTile(person, state, arriving, mine) {
  const me = person.sid === state.me?.sid;
  const camera = trackOf(person, "camera");
  const sound = trackOf(person, "microphone");
  const microphone = me ? mine.microphone && !mine.hostMuted.microphone : sound && !sound.muted;
  const seen = camera && !camera.muted ? (arriving.get(camera.sid) ?? null) : null;
  const picture = mine.hostMuted.camera ? null : mine.picture;
  return {
    // By identity: who joins again (a lost connection) keeps the tile.
    key: `person ${person.identity}`,
    kind: "person",
    identity: person.identity,
    sid: person.sid,
    name: shownName(person),
    mine: me,
    video: me ? picture : seen,
    microphone: microphone ? "on" : sound ? "off" : "none",
    mutedByHost: sound !== null && sound.muted && state.mutedByHost.has(sound.sid),
    speaking: Boolean(microphone) && (state.speakers.get(person.sid) ?? 0) >= SPEAKS_FROM,
  };
}

/**
 * @param {ParticipantInfo} person
 * @param {RoomState} state
 * @param {ReadonlyMap<string, MediaStreamTrack>} arriving
 * @param {Mine} mine
 * @returns {TileView[]}
 */
function screenTiles(person, state, arriving, mine) {
  const me = person.sid === state.me?.sid;
  const screen = trackOf(person, "screen_share");
  if (!screen || screen.muted || (me && !mine.sharing)) return [];
  return [
    {
      key: `screen ${screen.sid}`,
      kind: "screen",
      identity: person.identity,
      sid: screen.sid,
      name: me ? words("room.me") : words("room.screen_of", { name: shownName(person) }),
      mine: me,
      video: me ? null : (arriving.get(screen.sid) ?? null),
      microphone: "on",
      mutedByHost: false,
      speaking: false,
    },
  ];
}

/**
 * What is to be heard: everybody's sound but one's own.
 * @param {RoomState} state
 * @param {ReadonlyMap<string, MediaStreamTrack>} arriving
 * @returns {{sid: string, identity: string, track: MediaStreamTrack}[]}
 */
export function soundsOf(state, arriving) {
  const heard = [];
  for (const person of state.others.values()) {
    for (const { sid, kind } of person.tracks) {
      const track = arriving.get(sid);
      if (kind === "audio" && track) heard.push({ sid, identity: person.identity, track });
    }
  }
  return heard;
}
