// A camera that flashes and a microphone that beeps at the same moments, and an instrument that hears and sees when.
// It is evaluated in a page of the server's own origin.

const FLASH_MS = 100;
const BEEP_S = 0.03;
/** A low tone below the beeps, so that a hole or a step in the sound can be told from silence. */
const HUM_HZ = 250;
const HUM = 0.05;
const HOLE_MS = 5; // of silence: two and a half swings of the hum
const STEP = 0.005; // second difference of two samples: that of the hum is below 0.0001

/** Calls at a steady pace in a busy page too. */
const { every } = await import("/sdk/ticker.js");

/** @returns {{stream: MediaStream, stop: () => void}} a picture of 320×240 and a sound, in step every `period_s`; with a hum where told */
function source(period_s, fps = 15, hums = false) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [320, 240];
  const pen = canvas.getContext("2d", { alpha: false });
  const context = new AudioContext({ sinkId: { type: "none" } });
  const destination = context.createMediaStreamDestination();
  const tone = new OscillatorNode(context, { frequency: 1000 });
  const gate = new GainNode(context, { gain: 0 });
  tone.connect(gate).connect(destination);
  tone.start();
  if (hums) {
    const hum = new OscillatorNode(context, { frequency: HUM_HZ });
    hum.connect(new GainNode(context, { gain: HUM })).connect(destination);
    hum.start();
  }
  let next_s = context.currentTime + 1;
  let lit_ms = -Infinity;
  let count = 0;
  const draw = () => {
    const now_ms = performance.now();
    if (context.currentTime >= next_s) {
      lit_ms = now_ms;
      gate.gain.setValueAtTime(0.5, context.currentTime);
      gate.gain.setValueAtTime(0, context.currentTime + BEEP_S);
      next_s += period_s;
    }
    count += 1;
    pen.fillStyle = now_ms - lit_ms < FLASH_MS ? "#fff" : "#404040";
    pen.fillRect(0, 0, 320, 240);
    pen.fillStyle = "#708090";
    pen.fillRect((count * 3) % 300, 200, 20, 20); // something moves
  };
  draw();
  const stop = every(1000 / fps, draw);
  const stream = new MediaStream([...canvas.captureStream().getTracks(), ...destination.stream.getTracks()]);
  return {
    stream,
    stop() {
      stop();
      context.close();
      for (const track of stream.getTracks()) track.stop();
    },
  };
}

/**
 * Notes when flashes and beeps begin, page time in ms, and every picture with its brightness; flashes with `age()` too. Of a sound
 * that hums also every chunk ([page time, samples so far]), the places of beeps in samples, and holes and steps ([place, size]), and of
 * its pictures their own times ([page time, timestamp in ms]).
 */
function listen(stream, age = () => 0, hums = false) {
  const heard = { flashes: [], beeps: [], pictures: [], chunks: [], places: [], holes: [], steps: [], stamps: [], rate: 48000 };
  const [video, audio] = [stream.getVideoTracks()[0], stream.getAudioTracks()[0]];
  const pictures = new MediaStreamTrackProcessor({ track: video }).readable.getReader();
  (async () => {
    let bright = false;
    for (;;) {
      const { value: frame, done } = await pictures.read();
      if (done) return;
      const now_ms = performance.now();
      const rect = { x: 32, y: 32, width: 16, height: 16 };
      const bytes = new Uint8Array(frame.allocationSize({ rect }));
      await frame.copyTo(bytes, { rect });
      // RGBA or planes of YUV: the first bytes are brightness, near enough.
      const light = bytes.subarray(0, 256).reduce((sum, each) => sum + each, 0) / 256;
      heard.pictures.push([now_ms, light, frame.displayWidth, frame.displayHeight]);
      if (hums) heard.stamps.push([now_ms, frame.timestamp / 1000]);
      frame.close();
      if (light > 140 && !bright) heard.flashes.push([now_ms, age() * 1000]);
      bright = light > 140;
    }
  })();
  if (audio) {
    const sounds = new MediaStreamTrackProcessor({ track: audio }).readable.getReader();
    (async () => {
      let quiet_ms = 1000;
      let place = 0;
      let loud = 0;
      let [before, last] = [0, 0];
      for (;;) {
        const { value: data, done } = await sounds.read();
        if (done) return;
        const now_ms = performance.now();
        const samples = new Float32Array(data.numberOfFrames);
        data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
        const each_ms = 1000 / data.sampleRate;
        heard.rate = data.sampleRate;
        data.close();
        samples.forEach((value, index) => {
          if (Math.abs(value) > 0.1) {
            if (quiet_ms > 60) {
              heard.beeps.push(now_ms - (samples.length - index) * each_ms);
              heard.places.push(place + index);
            }
            quiet_ms = 0;
          } else quiet_ms += each_ms;
          if (!hums) return;
          if (Math.abs(value) > HUM / 4) {
            const hole = place + index - loud;
            if (loud && hole * each_ms > HOLE_MS) heard.holes.push([loud, hole * each_ms]);
            loud = place + index;
          }
          const step = Math.abs(value - 2 * last + before);
          if (step > STEP) heard.steps.push([place + index, step]);
          [before, last] = [last, value];
        });
        place += samples.length;
        if (hums) heard.chunks.push([now_ms, place]);
      }
    })();
  }
  return heard;
}

return { source, listen };
