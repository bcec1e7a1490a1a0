// The room's state: messages applied in order.
import assert from "node:assert/strict";
import { test } from "node:test";
import { RoomState, trackOf } from "../../../web/pages/protocol/room_state.js";

const track = (sid, source, muted = false) => ({
  sid,
  kind: source === "microphone" ? "audio" : "video",
  source,
  muted,
});
const person = (sid, joined_at, ...tracks) => ({ sid, identity: sid, name: "", joined_at, tracks });
const room = { name: "tea", broadcast: null };

function joined(...others) {
  const state = new RoomState();
  state.apply({ type: "joined", room, participant: person("me", "2"), participants: others });
  return state;
}

test("I come first, the others in the order of joining", () => {
  const state = joined(person("c", "3"), person("a", "1"));
  state.apply({ type: "participant_joined", participant: person("b", "2") });
  assert.deepEqual(state.everybody().map((p) => p.sid), ["me", "a", "b", "c"]);
});

test("my own join and leaves of strangers are no news", () => {
  const state = joined();
  assert.deepEqual(state.apply({ type: "participant_joined", participant: person("me", "2") }), []);
  assert.deepEqual(state.apply({ type: "participant_left", sid: "x", identity: "x" }), []);
  assert.equal(state.everybody().length, 1);
});

test("a track told twice is there once, and of a stranger not at all", () => {
  const state = joined(person("a", "1"));
  for (const muted of [true, false]) {
    state.apply({ type: "track_published", participant: "a", track: track("t", "camera", muted) });
  }
  state.apply({ type: "track_published", participant: "x", track: track("u", "camera") });
  assert.deepEqual(state.participant("a").tracks.map((t) => [t.sid, t.muted]), [["t", false]]);
});

test("only the host's mute of my own track is news, and it is remembered", () => {
  const state = joined(person("a", "1", track("t", "camera")));
  state.apply({ type: "track_published", participant: "me", track: track("m", "microphone") });
  const mute = { type: "track_muted", muted: true };
  assert.deepEqual(state.apply({ ...mute, participant: "a", track: "t", by: "admin" }), []);
  assert.deepEqual(state.apply({ ...mute, participant: "me", track: "m", by: "participant" }), []);
  const [news] = state.apply({ ...mute, participant: "me", track: "m", by: "admin" });
  assert.equal(news.kind, "host_muted");
  assert.deepEqual([...state.mutedByHost].sort(), ["m", "t"]);
  state.apply({ ...mute, muted: false, participant: "me", track: "m", by: "admin" });
  assert.deepEqual([...state.mutedByHost], ["t"]);
});

test("who leaves takes speaking and mutes along", () => {
  const state = joined(person("a", "1", track("t", "microphone")));
  state.apply({ type: "speakers", speakers: [{ participant: "a", identity: "a", level: 1 }] });
  state.apply({ type: "track_muted", participant: "a", track: "t", muted: true, by: "admin" });
  state.apply({ type: "participant_left", sid: "a", identity: "a", reason: "left" });
  assert.equal(state.speakers.size + state.mutedByHost.size, 0);
});

test("a resync replaces the others and what is known of me", () => {
  const state = joined(person("a", "1"));
  const participants = [person("me", "2", track("m", "camera")), person("b", "3")];
  state.apply({ type: "resync", reason: "fork", room, participants, position: "9-0" });
  assert.deepEqual(state.everybody().map((p) => p.sid), ["me", "b"]);
  assert.equal(state.me.tracks[0].sid, "m");
});

test("a broadcast is news when its state changes", () => {
  const state = joined();
  const broadcast = { sid: "BC_1", state: "live", url: "/live/tea/index.m3u8" };
  assert.deepEqual(state.apply({ type: "broadcast", broadcast }), [
    { kind: "broadcast", state: "live" },
  ]);
  assert.deepEqual(state.apply({ type: "broadcast", broadcast }), []);
});

test("unknown messages change nothing", () => {
  const state = joined();
  assert.deepEqual(state.apply({ type: "from_the_future" }), []);
});

test("a track without a source stands for camera or microphone by its kind", () => {
  const unknown = { ...track("u", "unknown"), kind: "video" };
  assert.equal(trackOf({ tracks: [unknown] }, "camera").sid, "u");
  assert.equal(trackOf({ tracks: [unknown] }, "microphone"), null);
  assert.equal(trackOf({ tracks: [unknown] }, "screen_share"), null);
});
