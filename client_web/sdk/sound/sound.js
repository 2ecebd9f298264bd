// @ts-check
// The one audio track that goes out, as this browser makes it best: of chunks, or by Web Audio.

import { ChunkSound } from "./chunk_sound.js";
import { WebAudioSound } from "./web_audio_sound.js";

/** @typedef {ChunkSound | WebAudioSound} Sound */
export const Sound = ChunkSound.supported ? ChunkSound : WebAudioSound;
