// @ts-check
// Names the files that the page makes, and hands them to the browser's downloads.

import { make } from "./dom.js";

/** Returns a name with the local time, as in relight-2026-01-31-170509.png. @param {string} ending @param {Date} [at] @returns {string} */
export function fileName(ending, at = new Date()) {
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `relight-${day}-${two(at.getHours())}${two(at.getMinutes())}${two(at.getSeconds())}.${ending}`;
}

/**
 * Saves a file among the downloads.
 * @param {Blob} blob @param {string} name @returns {() => void} releases the file; call it once it is surely written
 */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = make("a", { href: url, download: name });
  link.click();
  return () => URL.revokeObjectURL(url);
}
