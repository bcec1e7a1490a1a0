// Where this page's token comes from: its address, or the server while rooms are open.
import { callApi } from "./api.js";

/**
 * Take the token out of the address (`?access_token=`, `#token=` or `#access_token=`), so that it
 * is not shared with a copied link or seen on a shared screen.
 * @returns {string | null}
 */
export function takeTokenFromAddress() {
  const address = new URL(location.href);
  const hash = new URLSearchParams(address.hash.slice(1));
  const token =
    address.searchParams.get("access_token") ?? hash.get("token") ?? hash.get("access_token");
  if (token === null) return null;
  address.searchParams.delete("access_token");
  address.hash = "";
  history.replaceState(history.state, "", address);
  return token;
}

/**
 * A guest's token, minted by the server.
 * @param {string} room
 * @param {string} name
 * @returns {Promise<string>} rejects with ApiError; "permission_denied" when rooms are not open
 */
export async function guestToken(room, name) {
  const answer = await callApi("POST", "/v1/tokens", { body: { room, name: name.trim() } });
  return answer.token;
}

/**
 * What a token says; it is the server that believes it or not.
 * @param {string | null} token
 * @returns {{sub?: string, name?: string, exp?: number, video?: {roomAdmin?: boolean, room?: string, canPublish?: boolean}} | null}
 */
export function readToken(token) {
  try {
    const body = (token ?? "").split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(body.replace(/-/g, "+").replace(/_/g, "/")), (c) =>
      c.charCodeAt(0),
    );
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/**
 * Whether *token* says that its bearer administers *room*.
 * @param {string | null} token
 * @param {string} room
 */
export function isHost(token, room) {
  const video = readToken(token)?.video;
  return video?.roomAdmin === true && (video.room === room || video.room === "*");
}
