// A camera that flashes and a microphone that beeps at the same moments, and an instrument that hears and sees when.
// It is evaluated in a page of the server's own origin. Every moment has a number: squares in the white pictures tell it, with which
// picture of the flash each is, and the pitch of the beep.

const FLASH_MS = 100;
const BEEP_S = 0.03;
/** A low tone below the beeps, so that a hole or a step in the sound can be told from silence. */
const HUM_HZ = 250;
const HUM = 0.05;
const HOLE_MS = 5; // of silence: two and a half swings of the hum
const NUMBERS = 16;
const NUMBER_BITS = 4;
const BITS = 6; // of the squares: number, then which picture of the flash
const PITCH_HZ = 1000; // of number 0
const PITCH_STEP_HZ = 150;
const PITCH_S = 0.024; // of a beep, by which its pitch is told
const CLEAR = 2; // so much stronger than any other pitch
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
  const tone = new OscillatorNode(context);
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
  let number = -1;
  let white = 0;
  const draw = () => {
    const now_ms = performance.now();
    if (context.currentTime >= next_s) {
      lit_ms = now_ms;
      white = 0;
      number = (number + 1) % NUMBERS;
      tone.frequency.setValueAtTime(PITCH_HZ + PITCH_STEP_HZ * number, context.currentTime);
      gate.gain.setValueAtTime(0.5, context.currentTime);
      gate.gain.setValueAtTime(0, context.currentTime + BEEP_S);
      next_s += period_s;
    }
    count += 1;
    pen.fillStyle = now_ms - lit_ms < FLASH_MS ? "#fff" : "#404040";
    pen.fillRect(0, 0, 320, 240);
    pen.fillStyle = "#708090";
    pen.fillRect((count * 3) % 300, 200, 20, 20); // something moves
    if (now_ms - lit_ms >= FLASH_MS) return;
    const code = number + (Math.min(white, 3) << NUMBER_BITS);
    white += 1;
    pen.fillStyle = "#000";
    for (let bit = 0; bit < BITS; bit += 1) if ((code >> bit) & 1) pen.fillRect(40 + 40 * bit, 100, 24, 24);
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

/** @returns {Promise<number>} mean of a square of 16 pixels of a picture of 320×240, or where that is in a larger one */
async function brightness(frame, x, y) {
  const place = (pixels) => 2 * Math.round((pixels * frame.codedWidth) / 640);
  const rect = { x: place(x), y: place(y), width: 16, height: 16 };
  const bytes = new Uint8Array(frame.allocationSize({ rect }));
  await frame.copyTo(bytes, { rect });
  // RGBA or planes of YUV: the first bytes are brightness, near enough.
  return bytes.subarray(0, 256).reduce((sum, each) => sum + each, 0) / 256;
}

/** @returns {Promise<number>} what the squares of a white picture tell */
async function code(frame) {
  let found = 0;
  for (let bit = 0; bit < BITS; bit += 1) if ((await brightness(frame, 44 + 40 * bit, 104)) < 110) found |= 1 << bit;
  return found;
}

/** @returns {number} which beep this is the beginning of: the pitch that is strongest in it; -1: none is, as of one that was cut */
function pitchNumber(samples, rate) {
  const powers = Array.from({ length: NUMBERS }, (_, number) => {
    const turn = (2 * Math.PI * (PITCH_HZ + PITCH_STEP_HZ * number)) / rate;
    const [real, imaginary] = [Math.cos, Math.sin].map((wave) => samples.reduce((sum, value, i) => sum + value * wave(turn * i), 0));
    return real * real + imaginary * imaginary;
  });
  const [second, first] = [...powers].sort((x, y) => x - y).slice(-2);
  return first > CLEAR * second ? powers.indexOf(first) : -1;
}

/**
 * Notes when flashes and beeps begin, page time in ms, and every picture with its brightness; flashes with `age()` too, each white
 * picture with its number and which of the flash it is, and the numbers of the beeps. Of a sound that hums also every chunk
 * ([page time, samples so far]), the places of beeps in samples, and holes and steps ([place, size]), and of its pictures their own
 * times ([page time, timestamp in ms]).
 */
function listen(stream, age = () => 0, hums = false) {
  const events = { flashes: [], beeps: [], white: [], numbers: [], places: [], holes: [], steps: [] };
  const heard = { ...events, pictures: [], chunks: [], stamps: [], rate: 48000 };
  const [video, audio] = [stream.getVideoTracks()[0], stream.getAudioTracks()[0]];
  const pictures = new MediaStreamTrackProcessor({ track: video }).readable.getReader();
  (async () => {
    let bright = false;
    for (;;) {
      const { value: frame, done } = await pictures.read();
      if (done) return;
      const now_ms = performance.now();
      const light = await brightness(frame, 32, 32);
      heard.pictures.push([now_ms, light, frame.displayWidth, frame.displayHeight]);
      if (hums) heard.stamps.push([now_ms, frame.timestamp / 1000]);
      if (light > 140) {
        const told = await code(frame);
        heard.white.push([now_ms, told % NUMBERS, told >> NUMBER_BITS]);
      }
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
      let beep = null; // the beginning of the newest, until its pitch is told
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
              heard.numbers.push(-1);
              beep = [];
            }
            quiet_ms = 0;
          } else quiet_ms += each_ms;
          if (beep?.push(value) >= PITCH_S * heard.rate) {
            heard.numbers[heard.numbers.length - 1] = pitchNumber(beep, heard.rate);
            beep = null;
          }
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
