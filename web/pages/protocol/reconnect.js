// Whether and when to join again. Pure: randomness comes as an argument.

/** @typedef {"no" | "now" | "later"} Advice */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
// "now" is still spread a little: a lost node sends its whole room back at one moment.
const NOW_SPREAD_MS = 300;

/**
 * What a closed socket asks us to do. The server's last word counts; without one the range of the
 * close code does (4000-4099 no, 4100-4199 now, 4200-4299 later); anything else is a lost
 * connection.
 * @param {{goodbye: {reconnect: string} | null, closeCode: number}} end
 * @returns {Advice}
 */
export function adviceOf({ goodbye, closeCode }) {
  const word = goodbye?.reconnect;
  if (word === "no" || word === "now" || word === "later") return word;
  if (closeCode >= 4000 && closeCode <= 4099) return "no";
  if (closeCode >= 4100 && closeCode <= 4199) return "now";
  return "later";
}

/**
 * How long to wait before attempt number *attempt* (0: the first).
 * @param {Advice} advice "now" holds for the first attempt only
 * @param {number} attempt
 * @param {number} random in [0, 1)
 * @returns {number} milliseconds
 */
export function delayMs(advice, attempt, random) {
  if (advice === "now" && attempt === 0) return Math.round(random * NOW_SPREAD_MS);
  const most = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
  return Math.round(most / 2 + (random * most) / 2);
}
