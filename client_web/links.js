// @ts-check
// Links that expire: the one that the server printed at its start, and the one that a participant gives to viewers.

/** @typedef {{ url: string, qr: string, token: string | null, expires_s: number | null }} ViewerLink `qr` is SVG */

/**
 * @param {string} path @param {string} token @param {object} [body] sent as JSON
 * @returns {Promise<any>} rejects with the server's own words
 */
async function post(path, token, body) {
  const headers = new Headers(token ? { authorization: `Bearer ${token}` } : {});
  if (body) headers.set("content-type", "application/json");
  const response = await fetch(new URL(path, document.baseURI), { method: "POST", headers, body: body && JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw Object.assign(new Error(answer.message ?? `The server refused it (${response.status})`), { code: answer.code, hint: answer.hint });
}

/** Exchanges the token of the printed link, which works once. @param {string} entry @returns {Promise<string>} token */
export const join = async (entry) => (await post("api/token", entry)).token;

/** @param {string} session of the welcome @param {string} token @returns {Promise<ViewerLink>} */
export const linkForViewers = (session, token) =>
  post("api/links", token, { session, base: new URL(".", document.baseURI).href });
