// @ts-check
// The ways in which a sound is kept in step with its picture.

const WAYS = ["page", "server", "none"];

/** @param {string} way throws TypeError where it is none */
export function checkWay(way) {
  if (!WAYS.includes(way)) throw new TypeError(`sound=${JSON.stringify(way)}: it is one of ${WAYS.join(", ")}`);
}
