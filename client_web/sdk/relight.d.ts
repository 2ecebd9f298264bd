// Types of the SDK; relight.js is checked against them. The messages themselves are described in docs/protocol.md.

/** An open or opening WebSocket, or whatever stands for one. */
export interface SocketLike {
  send(text: string): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
  /** As of WebSocket: 1 is open. */
  readonly readyState: number;
}

/** How the server is reached; an extension, whose pages forbid connections, hands in its own. */
export interface Transport {
  open(url: string, protocols: string[]): SocketLike;
  fetch(url: string, init?: RequestInit): Promise<Response>;
}

export type RGB = [number, number, number];

export interface Lighting {
  name?: string;
  ambient_rgb: RGB;
  directionals: { direction: RGB; rgb: RGB; wrap: number; shadow: number }[];
  sh: RGB[] | null;
  specular: number;
}

/** Re-aims a light without losing its character. */
export interface Adjust {
  /** The key goes there; +x is right in the picture, +y up, +z toward the viewer. */
  direction?: RGB;
  /** 0…3, times. */
  intensity?: number;
  /** 2000…12000; 6500 leaves colours alone. */
  temperature_k?: number;
  /** 0…1, wrap of the key. */
  softness?: number;
}

/** *page*: the microphone stays on this machine and is delayed here. *server*: it goes through the connection and is delayed there. */
export type Sound = "page" | "server" | "none";

/** *relay*: through a TURN server alone, so that neither side learns the other's address. *relay-tcp*: that over TCP or TLS. */
export type Network = "all" | "relay" | "relay-tcp";

export interface Options {
  /** Address of the server; the one that this module came from where it is left out. */
  server?: string | URL;
  /** Sign-in token, for a server that wants one. */
  token?: string;
  /** Name of a preset (`GET /api/lights`), or a full light. */
  light?: string | Lighting;
  /** How much of the light, 0…1. */
  strength?: number;
  /** Default: "page". */
  sound?: Sound;
  /** The ways that media may take; default: "all". */
  network?: Network;
  /** A portrait: from the first moment on it is seen in place of the camera. */
  avatar?: Blob;
  /** Name of the preferred engine; the server's own choice where it is left out. */
  engine?: string;
  /** True mirrors the picture. */
  mirror?: boolean;
  transport?: Transport;
}

/**
 * `connecting`: no relit picture has come yet. `live`: relit pictures are shown. `camera` and `portrait`: they are shown in place of
 * relit pictures, until those come again. The camera is never shown while an avatar is chosen.
 */
export type State = "connecting" | "live" | "camera" | "portrait" | "stopped";

/** Something the participant should know. `code` is for programs and stays; the rest is for people. */
export interface Trouble {
  code: string;
  message: string;
  hint: string;
}

export interface EngineInfo {
  name: string;
  title: string;
  available: boolean;
  /** Why it is not available; else empty. */
  reason: string;
  /** It shows an avatar in place of the person. */
  shows_avatar: boolean;
  /** It has the presets of `GET api/avatar` and obeys `set_avatar`. */
  has_qualities: boolean;
}

export interface Welcome {
  session: string;
  /** Name under which others may view the relit picture. */
  view?: string;
  version: string;
  engines: EngineInfo[];
  engine: string;
  ice_servers: RTCIceServer[];
  /** *relay*: the operator admits relayed connections only. */
  ice_policy?: RTCIceTransportPolicy;
}

export interface StageTimes {
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
}

export interface Stats {
  fps_in: number;
  fps_out: number;
  drops: number;
  width: number;
  height: number;
  /** From the arrival of a picture at the server to its encoder. */
  latency_ms: { p50: number; p95: number };
  stages: Record<string, StageTimes>;
  face: "ok" | "no_face" | "move_closer" | "turn_to_camera";
  engine: {
    name: string;
    state: "warming" | "ok" | "behind" | "failed" | "paused";
    message: string;
    showing?: string;
  };
  /** A returned picture's RTP timestamp, and when the picture it was made from had arrived at the server (s since 1970). */
  sync?: { rtp: number; arrived_s: number; decode_ms?: number; sound_rtp?: number | null } | null;
  /** The size and rate at which everybody's pictures are handled now; null: their own. This module sends no more. */
  cap?: Cap | null;
}

/** The size, counted in pixels, and the rate above which the server makes pictures smaller and leaves some out. */
export interface Cap {
  width: number;
  height: number;
  fps: number;
}

/** All places on the server are taken. */
export interface Waiting {
  /** 1: next. */
  place: number;
  /** How many wait. */
  of: number;
  /** Seconds until there may be a place; null: not known yet. */
  estimate_s: number | null;
}

export interface Prediction {
  delay_s: number;
  fps: number;
  keeps_up: boolean;
}

export interface Quality {
  name: string;
  title: string;
  steps: number;
  omega: number;
  stride: number;
  predicted: Prediction | null;
}

/** The answer to `GET api/avatar`. */
export interface AvatarOptions {
  qualities: Quality[];
  /** Name of the quality of a session that asked for none. */
  default: string;
  /** What the networks run on; may be empty. */
  backend: string;
  /** True where the weights were trained for the staggered mode. */
  staggered?: boolean;
  /** The weights are made for so many steps; fewer blur the picture. */
  least_steps?: number;
}

/** Any message of the server. */
export interface Message {
  type: string;
  id?: string | number;
  of?: string;
  [field: string]: any;
}

export interface RelitEvents {
  state: State;
  stats: Stats;
  trouble: Trouble;
  /** Our place in line, whenever it changes, while the camera (of an avatar the portrait) goes on; null: the wait is over. */
  waiting: Waiting | null;
  /** A session began: once a connection. */
  welcome: Welcome;
  /** Every other message of the server that answers nothing. */
  message: Message;
}

/** The relit picture with its sound: a MediaStream whose tracks stay the same and live until `stop()`. */
export interface Relit extends MediaStream {
  /** Itself. */
  readonly stream: MediaStream;
  readonly state: State;
  /** From the picture at the camera to the picture in this stream, seconds; 0 while the camera is shown. */
  readonly delay: number;
  /** Name for viewers (`/view/NAME`, `/whep/NAME`); empty while there is no session. */
  readonly view: string;
  setLight(light: string | Lighting, adjust?: Adjust): void;
  /** 0…1. */
  setStrength(value: number): void;
  /** Shows a portrait in place of the camera, from this moment on; null: the camera again. Resolves to true once the server has it. */
  setAvatar(portrait: Blob | null): Promise<boolean>;
  setEngine(name: string): void;
  setMirror(on: boolean): void;
  /** Goes on with other tracks; null sends nothing, which frees the place on the server, until there are tracks again. */
  replaceSource(stream: MediaStream | null): void;
  /** Changes the way of the sound; to and from "server" by a new connection. Throws TypeError. */
  setSound(way: Sound): void;
  /** Ends the tracks and the connection. The tracks that were handed in go on: they are the caller's. */
  stop(): void;
  /** Calls a listener at each event; returns a function that takes it off again. */
  on<K extends keyof RelitEvents>(event: K, listener: (detail: RelitEvents[K]) => void): () => void;
  /** Sends a message of docs/protocol.md that this class has no method for; the last one of a type is sent again after a reconnect. */
  send(type: string, fields: Record<string, unknown>): void;
  /** Requests a path of the server, such as "api/lights", with its address and token. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

/**
 * Relights a stream: its first video track, and its first audio track where `sound` is not "none". Resolves at once: the camera goes on
 * until relit pictures come, and again whenever they stay away. Rejects with TypeError where an argument cannot be used at all.
 */
export function relight(stream: MediaStream | null, options?: Options): Promise<Relit>;
