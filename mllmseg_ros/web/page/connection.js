// SPDX-License-Identifier: Apache-2.0
// The way to the robot: a WebSocket that comes back when it is lost, and requests with an answer.

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 2000;
const SILENT_MS = 15000; // without a word, though one comes every five seconds

/** Send a request; returns its answer. Throws an Error with a line for people. */
export async function request(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  } catch {
    throw new Error("the robot does not answer: the command was not sent");
  }
  const text = await response.text();
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
  #waitMs = FIRST_WAIT_MS;
  #camera = null; // the one chosen here, which outlives a lost connection

  /** handlers: by kind of message; picture(head, jpeg) and connected(isConnected) besides. */
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
    const rest = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => socket.close(), SILENT_MS);
    };
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#waitMs = FIRST_WAIT_MS;
      if (this.#camera !== null) this.choose(this.#camera);
      this.#handlers.connected(true);
    };
    socket.onmessage = ({ data }) => {
      rest();
      if (typeof data === "string") this.#onText(JSON.parse(data));
      else this.#onPicture(data);
    };
    socket.onclose = () => {
      clearTimeout(watchdog);
      this.#handlers.connected(false);
      setTimeout(() => this.#again(), this.#waitMs);
      this.#waitMs = Math.min(2 * this.#waitMs, LONGEST_WAIT_MS);
    };
  }

  async #again() {
    const answer = await fetch("/", { method: "HEAD" }).catch(() => null);
    if (answer?.status === 401) location.reload(); // the token was changed
    else this.open();
  }

  choose(camera) {
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

  async #onPicture(data) {
    const length = new DataView(data).getUint32(0);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    try {
      if (head.camera === this.camera) {
        await this.#handlers.picture(head, new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
      }
    } finally {
      this.send("shown"); // the next one may come
    }
  }
}
