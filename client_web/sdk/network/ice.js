// @ts-check
// The ways that media may take: straight or relayed, as the server hands them out and the page narrows them down.

/** @typedef {import("../relight.js").Network} Network */

/** @type {Network[]} */
const NETWORKS = ["all", "relay", "relay-tcp"];

/** @param {string} network throws TypeError where it is none */
export function checkNetwork(network) {
  if (!NETWORKS.includes(/** @type {Network} */ (network)))
    throw new TypeError(`network=${JSON.stringify(network)}: it is one of ${NETWORKS.join(", ")}`);
}

/** @param {string} url @returns {boolean} */
const isTcp = (url) => /^turns?:/.test(url) && /[?&]transport=tcp$/.test(url);

/**
 * Makes the configuration of a connection. The narrower of what the server says and what the page asks for counts.
 * @param {{ice_servers?: RTCIceServer[], ice_policy?: RTCIceTransportPolicy}} given in `welcome`, or by GET /api/ice
 * @param {Network} network
 * @returns {RTCConfiguration}
 */
export function iceConfiguration({ ice_servers = [], ice_policy = "all" }, network) {
  const relayed = network !== "all" || ice_policy === "relay";
  if (network !== "relay-tcp") return { iceServers: ice_servers, iceTransportPolicy: relayed ? "relay" : "all" };
  const tcp = ice_servers.map((server) => ({ ...server, urls: [server.urls].flat().filter(isTcp) }));
  return { iceServers: tcp.filter(({ urls }) => urls.length), iceTransportPolicy: "relay" };
}

/**
 * Says why a connection with this configuration cannot come about; "" where it can.
 * @param {RTCConfiguration} configuration @returns {string}
 */
export function whyUnreachable({ iceServers = [], iceTransportPolicy }) {
  const relays = iceServers.some(({ urls }) => [urls].flat().some((url) => /^turns?:/.test(url)));
  return iceTransportPolicy === "relay" && !relays ? "Only relayed connections are allowed, and the server names no TURN server for them." : "";
}
