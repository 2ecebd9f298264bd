"""The parts of the SDK's sound, each by itself: delay lines, what they follow, and the sound that comes back."""

import pytest
from playwright.sync_api import Page

from tests.client_web.serving import Serving

pytestmark = pytest.mark.browser


@pytest.fixture
def call(page: Page, untouched: Serving) -> Page:
    """Opens an empty page of the server's origin, where the SDK's modules can be imported."""
    page.goto(f"{untouched.url}sdk/package.json")
    return page


def test_delay_line(call: Page) -> None:
    """The delay line is exact at rest, glides by at most half a per cent, and jumps without a step in the sound."""
    rest, glide, steps, length = call.evaluate(
        """async () => {
          const { ChunkLine } = await import("/sdk/sound/chunk_line.js");
          const { GLIDE } = await import("/sdk/sound/sample_line.js");
          const RATE = 48000;
          const wave = (i) => 0.5 * Math.sin((2 * Math.PI * 440 * i) / RATE);
          const line = new ChunkLine(1, RATE);
          const out = [];
          const run = (chunks) => {
            for (let c = 0; c < chunks; c += 1) {
              const chunk = Float32Array.from({ length: 480 }, (_, i) => wave(out.length + i));
              line.process([chunk]);
              out.push(...chunk);
            }
          };
          const off = (delay, from) => {
            let most = 0;
            for (let i = from; i < out.length; i += 1) most = Math.max(most, Math.abs(out[i] - wave(i - delay)));
            return most;
          };
          line.jumpTo(0.3);
          run(60);
          const rest = off(14400, out.length - 480);
          line.glideTo(0.301); // 48 frames at half a per cent: 9600 frames
          run(10);
          const under_way = off(14400 + GLIDE * 4800, out.length - 1);
          run(15);
          const glide = Math.max(under_way, off(14448, out.length - 480));
          const before = out.length - 1;
          line.jumpTo(3);
          line.jumpTo(0.05); // during the fade: it comes after
          run(400);
          let steps = 0;
          for (let i = before; i < out.length; i += 1) steps = Math.max(steps, Math.abs(out[i] - out[i - 1]));
          return [Math.max(rest, off(2400, out.length - 480)), glide, steps, out.length];
        }"""
    )
    assert length == 485 * 480
    assert rest < 1e-6  # float32
    assert glide < 2e-3  # linear interpolation between samples, and of a slope of 0.03 a sample one in twenty
    # A sine of 440 Hz at 0.5 moves 0.029 a sample; two of them in a fade, equal in power, at most 1.42 times that.
    assert steps < 0.045


def test_sound_line(call: Page) -> None:
    """Lost packets are silence, late ones are heard from where they are in time, and neither is a click."""
    steps, hole, resumed, late = call.evaluate(
        """async () => {
          const { SampleLine } = await import("/sdk/sound/sample_line.js");
          const wave = (i) => 0.5 * Math.sin((2 * Math.PI * 440 * i) / 48000);
          const line = new SampleLine(1, 48000, 2);
          const out = [];
          const packet = (n) => line.write([Float32Array.from({ length: 960 }, (_, i) => wave(n * 960 + i))], n * 960);
          const read = () => {
            const chunk = new Float32Array(480);
            line.read([chunk], out.length);
            out.push(...chunk);
          };
          line.jumpTo(960);
          for (let n = 0; n < 40; n += 1) {
            if (![10, 20, 21].includes(n)) packet(n);
            read();
            if (n === 21) [20, 21].forEach(packet); // the first half of packet 20 should have been heard
            read();
          }
          let steps = 0;
          for (let i = 1; i < out.length; i += 1) steps = Math.max(steps, Math.abs(out[i] - out[i - 1]));
          const heard = (n, from) => Array.from({ length: 960 - from }, (_, i) => out[(n + 1) * 960 + from + i]);
          const wrong = (n, from) => (value, i) => Math.abs(value - wave(n * 960 + from + i));
          const off = (n, from) => Math.max(...heard(n, from).map(wrong(n, from)));
          return [steps, Math.max(...heard(10, 200).map(Math.abs)), off(11, 200), off(20, 700)];
        }"""
    )
    assert steps < 0.045  # a sine of 440 Hz at 0.5 moves 0.029 a sample, and at the edges it dies away in 3 ms
    assert hole == 0
    assert resumed < 1e-6
    assert late < 1e-6


FOLLOWING = """
async () => {
  const { DelayFollower } = await import("/sdk/sound/delay_follower.js");
  const { SyncClock } = await import("/sdk/sound/sync_clock.js");
  const steady = (fps, delay_s = 0.5) => {
    const follower = new DelayFollower();
    let now_s = 10;
    const show = (delay_s, after_s = 1 / fps) => {
      follower.picture(delay_s, (now_s += after_s));
      return follower.delay_s;
    };
    for (let i = 0; i < fps; i += 1) show(delay_s);
    return show;
  };
  const stalls = [15, 30].map((fps) => {
    const show = steady(fps);
    const seen = [show(0.9, 0.4 + 1 / fps)];
    for (let late_s = 0.4 - 1 / fps; late_s > 0; late_s -= 1 / fps) seen.push(show(0.5 + late_s, 0.002));
    for (let i = 0; i < fps; i += 1) seen.push(show(0.5));
    return Math.max(...seen);
  });
  const shorter = steady(15)(0.05);
  const show = steady(15);
  const longer = [show(1), show(1.01)];
  const RTP = 90000;
  const aged = (sound, delays, seconds = 20, start = 2 ** 32 - 5 * RTP) => {
    const clock = new SyncClock();
    const ages = [];
    clock.pong(0, 0, 1000); // the server's clock is 1000 s ahead
    for (let t_s = 1; t_s < seconds; t_s += 0.5) {
      const delay_s = delays(t_s);
      // Of the source's clock without sound, else of the time at which the sound leaves.
      const rtp = Math.round(start + (sound ? t_s : t_s - delay_s) * RTP) % 2 ** 32;
      clock.pair({ rtp, arrived_s: 1000 + t_s - delay_s, decode_ms: 0, sound_rtp: sound ? 1 : null });
      ages.push(clock.age_s(rtp, t_s) - delay_s);
    }
    return ages;
  };
  const off = (ages) => Math.max(...ages.map(Math.abs));
  const hours = new SyncClock();
  hours.pong(0, 0, 1000);
  let worst = 0;
  for (let t_s = 0; t_s < 30 * 3600; t_s += 600) {
    const rtp = Math.round(12345 + t_s * RTP) % 2 ** 32;
    hours.pair({ rtp, arrived_s: 1000 + t_s, sound_rtp: null });
    worst = Math.max(worst, Math.abs(hours.age_s((rtp + RTP) % 2 ** 32, t_s + 1.25) - 0.25));
  }
  const jump = (t_s) => (t_s < 8 ? 0.5 : t_s < 14 ? 0.65 : 0.5);
  return { stalls, shorter, longer, source: off(aged(false, jump)), returned: off(aged(true, jump)), worst };
}
"""


def test_delay_is_followed(call: Page) -> None:
    """A stall is no other delay; a shorter one counts at once, a longer one from its second; no wrap is seen."""
    found = call.evaluate(FOLLOWING)
    assert found["stalls"] == pytest.approx([0.5, 0.5])
    assert found["shorter"] == 0.05
    assert found["longer"] == [0.5, pytest.approx(1.005)]
    assert found["source"] < 1e-4  # a tick of 90 kHz is 0.01 ms
    assert found["returned"] < 1e-4
    assert found["worst"] < 1e-4  # thirty hours: timestamps wrap twice, and their half more often


RETURNED = """
async () => {
  const { ReturnedSound } = await import("/sdk/sound/returned_sound.js");
  const packets = [];
  const encoder = new AudioEncoder({ output: (chunk) => packets.push(chunk), error: (error) => { throw error; } });
  const form = { sampleRate: 48000, numberOfChannels: 1 };
  encoder.configure({ codec: "opus", ...form, bitrate: 64000, opus: { frameDuration: 20000 } });
  const tone_s = 2; // a beep once the stall is over
  for (let n = 0; n < 150; n += 1) {
    const data = new Float32Array(960);
    const loud = n * 0.02 >= tone_s ? 0.5 : 0;
    data.forEach((_, i) => (data[i] = loud * Math.sin((2 * Math.PI * 1000 * i) / 48000)));
    encoder.encode(new AudioData({ format: "f32-planar", ...form, numberOfFrames: 960, timestamp: n * 20000, data }));
  }
  await encoder.flush();
  const sound = new ReturnedSound(1);
  const way_s = 0.01;
  const wish_s = 0.08; // the picture is so much later than the sound's beginning
  const out = [];
  let sent = 0;
  for (let k = 1; k < 300; k += 1) {
    const now_s = k * 0.01;
    // From 1 to 1.3 s nothing comes, then all of it.
    const came_s = now_s > 1 && now_s < 1.3 ? 1 : now_s;
    for (; sent < packets.length && (sent + 1) * 0.02 + way_s <= came_s; sent += 1) {
      const bytes = new Uint8Array(packets[sent].byteLength);
      packets[sent].copyTo(bytes);
      const rtp = (4294960000 + sent * 960) % 2 ** 32; // wraps on the way
      sound.packet({ data: bytes.buffer, getMetadata: () => ({ rtpTimestamp: rtp }) }, now_s);
      sound.hear({ rtp: 4294960000, at_s: wish_s });
    }
    await new Promise((next) => setTimeout(next)); // the decoder has its turn
    out.push(...sound.read(480, now_s));
  }
  sound.close();
  return out.findIndex((value) => Math.abs(value) > 0.1) / 48000 - tone_s - wish_s;
}
"""


def test_returned_sound_after_a_stall(call: Page) -> None:
    """After a stall of 0.3 s the sound is heard when it should be, not as late as the stall was."""
    assert abs(call.evaluate(RETURNED)) < 0.010  # Opus looks 6.5 ms ahead; without the remedy 0.2 s
