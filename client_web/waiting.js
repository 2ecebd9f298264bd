// @ts-check
// Words what one who waits for a place is told.

const MINUTE_S = 60;
const rules = new Intl.PluralRules("en", { type: "ordinal" });
/** @type {Record<string, string>} */
const SUFFIXES = { one: "st", two: "nd", few: "rd", other: "th" };

/** @param {import("./sdk/relight.js").Waiting} waiting @returns {string} such as "You are 2nd in line, about 4 minutes" */
export function waitingText({ place, estimate_s }) {
  const where = place === 1 ? "You are next in line" : `You are ${place}${SUFFIXES[rules.select(place)]} in line`;
  if (estimate_s === null) return where;
  const minutes = Math.round(estimate_s / MINUTE_S);
  return minutes < 1 ? `${where}, less than a minute` : `${where}, about ${minutes === 1 ? "a minute" : `${minutes} minutes`}`;
}
