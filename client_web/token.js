// @ts-check
// The sign-in token of the page's address (#token=…, or #join=… of the link that the server printed): it is kept for this tab and
// taken out of the address bar.

import { join } from "./links.js";

const KEY = "relight.token";

/** @param {(error: Error & {hint?: string}) => void} refused hears of a printed link that works no more @returns {Promise<string>} empty: none */
export async function takeToken(refused) {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const entry = fragment.get("join");
  let token = fragment.get("token");
  if (token !== null || entry !== null) {
    fragment.delete("token");
    fragment.delete("join");
    history.replaceState(null, "", location.pathname + location.search + (fragment.size ? `#${fragment}` : ""));
  }
  if (entry !== null) token = await join(entry).catch((error) => (refused(error), null));
  try {
    if (token === null) return sessionStorage.getItem(KEY) ?? "";
    sessionStorage.setItem(KEY, token);
  } catch {
    // Storage is refused: the token lives as long as the page.
  }
  return token ?? "";
}
