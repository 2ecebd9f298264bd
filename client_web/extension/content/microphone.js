// @ts-check
// STAND-IN until the SDK's sound is there.
export class Microphone {
  /** @param {MediaStreamTrack} track */
  constructor(track) {
    this.track = track.clone();
  }
  /** @param {unknown} _relit */
  follow(_relit) {}
  stop() {
    this.track.stop();
  }
}
