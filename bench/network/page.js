// The bench's instrument, evaluated in a page of the server: a numbered picture goes through the SDK, and what comes back is read.
// Every block of the top row, a sixteenth of the width, is one bit: 12 of the number, 4 that check it. Pictures are 4:3.
const FPS = 20;
const BLOCK = 40;
const check = (number) => (number ^ (number >> 4) ^ (number >> 8) ^ 0b1010) & 15;
const wall_ms = () => performance.timeOrigin + performance.now();

async function source(width = 640, fps = FPS) {
  const face = await createImageBitmap(await (await fetch("/sample/portrait.jpg")).blob());
  const canvas = Object.assign(document.createElement("canvas"), { width, height: (width * 3) / 4 });
  const context = canvas.getContext("2d");
  context.scale(width / 640, width / 640);
  const drawn = {};
  let number = 0;
  setInterval(() => {
    number = (number + 1) % 4096;
    const shift = 60 * Math.sin(number / 9);
    context.drawImage(face, shift - 60, shift / 2 - 40, 760, 600);
    const bits = (number << 4) | check(number);
    for (let place = 0; place < 16; place += 1) {
      context.fillStyle = (bits >> place) & 1 ? "#fff" : "#000";
      context.fillRect(place * BLOCK, 0, BLOCK, BLOCK);
    }
    drawn[number] = wall_ms();
  }, 1000 / fps);
  return { stream: canvas.captureStream(fps), drawn };
}

function watch(stream, drawn, state, pictures) {
  const video = Object.assign(document.createElement("video"), { muted: true, srcObject: stream, autoplay: true });
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 4 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const read = () => {
    const { videoWidth: width, videoHeight: height } = video;
    context.drawImage(video, 0, 0, width, (height * BLOCK) / 480, 0, 0, 64, 4);
    const { data } = context.getImageData(0, 0, 64, 4);
    let bits = 0;
    for (let place = 0; place < 16; place += 1) {
      const at = (2 * 64 + place * 4 + 2) * 4;
      const bit = (data[at] + data[at + 4 * -1] + data[at + 1]) / 3 > 127 ? 1 : 0;
      bits |= bit << place;
    }
    const number = bits >> 4;
    const good = check(number) === (bits & 15);
    const now = wall_ms();
    pictures.push([now, good && drawn[number] ? now - drawn[number] : null, state(), width, height]);
    video.requestVideoFrameCallback(read);
  };
  video.requestVideoFrameCallback(read);
  video.play();
}

// Every connection that the page makes is asked for its numbers.
const connections = [];
const Plain = RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Plain {
  constructor(...given) {
    super(...given);
    connections.push([this, wall_ms()]);
  }
};

async function numbers() {
  const found = [];
  for (const [connection, born] of connections) {
    if (connection.connectionState === "closed") continue;
    for (const stat of (await connection.getStats()).values())
      if ((stat.type === "inbound-rtp" || stat.type === "outbound-rtp") && stat.kind === "video")
        found.push({ at: wall_ms(), born, ice: connection.iceConnectionState, ...stat });
  }
  return found;
}

return { source, watch, numbers, wall_ms };
