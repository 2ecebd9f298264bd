// @ts-check
// The sign-in token of the page's address (#token=…): it is kept for this tab and taken out of the address bar.

const KEY = "relight.token";

/** @returns {string} empty where there is none */
export function takeToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  try {
    if (token === null) return sessionStorage.getItem(KEY) ?? "";
    sessionStorage.setItem(KEY, token);
  } catch {
    // Storage is refused: the token lives as long as the page.
  }
  fragment.delete("token");
  history.replaceState(null, "", location.pathname + location.search + (fragment.size ? `#${fragment}` : ""));
  return token ?? "";
}
