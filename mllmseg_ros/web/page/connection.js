// SPDX-License-Identifier: Apache-2.0
// Connection to the robot: a WebSocket that reconnects, and HTTP requests.

const MIN_DELAY_MS = 300; // before reconnecting
const MAX_DELAY_MS = 2000;
const TIMEOUT_MS = 15000; // without a message; the server sends one every five seconds

let pending = new AbortController();

/** Give up all requests that wait: browsers send only a few at once, and stop must not wait. */
export function abortRequests() {
  pending.abort();
  pending = new AbortController();
}

/** Send a request and return its reply. Throws an Error with a message for users. */
export async function request(path, body) {
  const { signal } = pending;
  let text;
  let response;
  try {
    response = await fetch(path, { method: "POST", body: JSON.stringify(body), signal });
    text = await response.text();
  } catch {
    throw new Error(signal.aborted ? "not waited for any longer, because of stop" : "no connection to the robot: the command was not sent");
  }
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(text.slice(0, 300));
  }
  if (!response.ok) throw new Error(value.error ?? text.slice(0, 300));
  return value;
}

export class Connection {
  #handlers;
  #socket = null;
  #delayMs = MIN_DELAY_MS;
  #camera = null; // selected camera, kept when the connection is lost

  /** handlers: by kind of message, and image(header, jpeg) and connected(isConnected). */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  get camera() {
    return this.#camera ?? "";
  }

  open() {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/socket`);
    let watchdog = 0;
    const restartWatchdog = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => socket.close(), TIMEOUT_MS);
    };
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#delayMs = MIN_DELAY_MS;
      if (this.#camera !== null) this.selectCamera(this.#camera);
      this.#handlers.connected(true);
    };
    socket.onmessage = ({ data }) => {
      restartWatchdog();
      if (typeof data === "string") this.#onText(JSON.parse(data));
      else this.#onImage(data);
    };
    socket.onclose = () => {
      clearTimeout(watchdog);
      this.#handlers.connected(false);
      setTimeout(() => this.#reconnect(), this.#delayMs);
      this.#delayMs = Math.min(2 * this.#delayMs, MAX_DELAY_MS);
    };
  }

  async #reconnect() {
    const reply = await fetch("/", { method: "HEAD" }).catch(() => null);
    if (reply?.status === 401) location.reload(); // the token was changed
    else this.open();
  }

  selectCamera(camera) {
    this.send("camera", camera);
  }

  send(kind, value) {
    if (this.isOpen) this.#socket.send(JSON.stringify({ kind, value }));
  }

  sendAudio(buffer) {
    if (this.isOpen) this.#socket.send(buffer);
  }

  #onText({ kind, value }) {
    if (kind === "camera") this.#camera = value;
    this.#handlers[kind]?.(value);
  }

  async #onImage(data) {
    const length = new DataView(data).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    try {
      if (header.camera === this.camera) {
        await this.#handlers.image(header, new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
      }
    } finally {
      this.send("shown"); // the server may send the next one
    }
  }
}
