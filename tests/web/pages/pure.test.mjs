// The small pure modules: names, reconnecting, tiles, levels, words.
import assert from "node:assert/strict";
import { test } from "node:test";
import { levelOf } from "../../../web/pages/media/level.js";
import { refusalOf } from "../../../web/pages/media/devices.js";
import {
  hueOf,
  initials,
  personNameFault,
  roomLink,
  roomNameFault,
  roomOfPath,
  tidyRoomName,
} from "../../../web/pages/protocol/names.js";
import { sendingLimits } from "../../../web/pages/protocol/publisher.js";
import { adviceOf, delayMs } from "../../../web/pages/protocol/reconnect.js";
import { arrange, capacity } from "../../../web/pages/room/grid.js";
import { CHINESE } from "../../../web/pages/text/chinese.js";
import { ENGLISH } from "../../../web/pages/text/english.js";

test("the server's last word decides, then the range of the close code", () => {
  const goodbye = (reconnect) => ({ goodbye: { reconnect }, closeCode: 4000 });
  assert.equal(adviceOf(goodbye("later")), "later");
  const bare = (closeCode) => adviceOf({ goodbye: null, closeCode });
  assert.deepEqual([4000, 4099, 4100, 4199, 4200, 4299].map(bare), [
    "no", "no", "now", "now", "later", "later",
  ]);
  assert.deepEqual([1000, 1001, 1006, 1011, 4300].map(bare), Array(5).fill("later"));
});

test("delays grow with the attempts up to 15 s, with jitter of a half", () => {
  assert.ok(delayMs("now", 0, 0.999) <= 300);
  for (const random of [0, 0.5, 0.999]) {
    for (let attempt = 0; attempt < 40; attempt++) {
      const most = Math.min(15_000, 500 * 2 ** attempt);
      const delay = delayMs("later", attempt, random);
      assert.ok(delay >= most / 2 && delay <= most, `${attempt} ${random} ${delay}`);
    }
  }
  assert.equal(delayMs("now", 3, 0), delayMs("later", 3, 0));
});

test("room names follow the server's rules", () => {
  assert.equal(tidyRoomName("  tea \t time  "), "tea-time");
  const good = ["a", "tea-time", "茶館", "ไทย", "x.y~z_1", "9", "é".normalize("NFD"), "x".repeat(64)];
  for (const name of good) assert.equal(roomNameFault(name), "", name);
  assert.equal(roomNameFault(""), "empty");
  assert.equal(roomNameFault("x".repeat(65)), "long");
  for (const name of ["-a", ".", "~x", "_x"]) assert.equal(roomNameFault(name), "first", name);
  for (const name of ["a b", "a/b", "a{b}", "a\u0000", "a😀", "a?"]) {
    assert.equal(roomNameFault(name), "characters", name);
  }
});

test("personal names are printable", () => {
  assert.equal(personNameFault(" Ada Lovelace "), "");
  assert.equal(personNameFault(" \t"), "empty");
  assert.equal(personNameFault("a\u0007b"), "characters");
  assert.equal(personNameFault("x".repeat(65)), "long");
});

test("a room's link leads back to its name", () => {
  for (const name of ["tea", "茶館", "a~b.c"]) assert.equal(roomOfPath(roomLink("/r/", name)), name);
  assert.equal(roomOfPath("/r/%zz"), "%zz");
});

test("initials and hues", () => {
  assert.equal(initials("Ada Lovelace"), "AL");
  assert.equal(initials("bob"), "B");
  assert.equal(initials("😀 x"), "😀X");
  assert.equal(initials("  "), "?");
  assert.equal(hueOf("bob"), hueOf("bob"));
  for (const who of ["", "a", "guest-01", "茶"]) assert.ok(hueOf(who) >= 0 && hueOf(who) < 360);
});

test("tiles never stick out, whatever the space, and fill a good part of it", () => {
  const spaces = [[344, 560], [360, 300], [784, 480], [1264, 680], [2000, 400], [150, 900]];
  for (const [width, height] of spaces) {
    const most = capacity(width, height, 8);
    assert.ok(most >= 1);
    for (let count = 1; count <= Math.min(most, 60); count++) {
      const { columns, rows, tileWidth, tileHeight } = arrange(count, width, height, 8);
      assert.ok(columns * rows >= count);
      assert.ok(columns * tileWidth + (columns - 1) * 8 <= width, `${width}x${height} ${count}`);
      assert.ok(rows * tileHeight + (rows - 1) * 8 <= height, `${width}x${height} ${count}`);
      const used = (count * tileWidth * tileHeight) / (width * height);
      if (width < 3 * height && height < 3 * width) assert.ok(used > 0.4, `${width}x${height} ${count} ${used}`);
    }
  }
});

test("two sit side by side on a desk, one above the other on a phone; four make a square", () => {
  assert.equal(arrange(2, 1264, 680, 8).columns, 2);
  assert.equal(arrange(2, 344, 560, 8).columns, 1);
  assert.deepEqual([arrange(4, 1264, 680, 8).columns, arrange(4, 1264, 680, 8).rows], [2, 2]);
});

test("the level is 0 in silence, 1 at full scale, and grows", () => {
  assert.equal(levelOf(new Float32Array(512)), 0);
  assert.equal(levelOf(new Float32Array(512).fill(1)), 1);
  const at = (amplitude) => levelOf(new Float32Array(512).fill(amplitude));
  assert.ok(at(0.01) < at(0.1) && at(0.1) < at(0.5));
});

test("each refusal of a browser has its explanation", () => {
  const of = (name, message = "") => refusalOf({ name, message });
  assert.equal(of("NotAllowedError"), "denied");
  assert.equal(of("NotAllowedError", "Permission denied by system"), "denied_by_system");
  assert.equal(of("NotFoundError"), "none");
  assert.equal(of("NotReadableError"), "in_use");
  assert.equal(of("AbortError"), "in_use");
  assert.equal(of("Strange"), "failed");
  assert.equal(refusalOf(undefined), "failed");
});

test("the more people, the less each camera sends; a screen stays sharp", () => {
  const rates = [1, 2, 4, 6, 20].map((people) => sendingLimits("camera", people).maxBitrate);
  assert.deepEqual(rates, [...rates].sort((a, b) => b - a));
  assert.equal(sendingLimits("screen_share", 20).scaleResolutionDownBy, 1);
});

test("both languages have the same keys and placeholders", () => {
  assert.deepEqual(Object.keys(CHINESE), Object.keys(ENGLISH));
  const holes = (text) => [...text.matchAll(/\{\w+\}/g)].map((m) => m[0]).sort();
  for (const [key, text] of Object.entries(ENGLISH)) {
    assert.deepEqual(holes(CHINESE[key]), holes(text), key);
    assert.notEqual(CHINESE[key], "", key);
  }
});
