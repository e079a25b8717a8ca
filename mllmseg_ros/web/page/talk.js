// SPDX-License-Identifier: Apache-2.0
// Hold to talk: sends the microphone's audio (16-bit mono, 16 kHz) while the button is held.

import { find } from "./dom.js";

const REPEAT_MS = 400; // while held; the robot lets go 1.5 s after the last one

export class Talk {
  #connection;
  #showProblem;
  #button = find("talk");
  #isHeld = false;
  #isSending = false;
  #context = null;
  #node = null;
  #stream = null;
  #repeating = 0;

  constructor(connection, showProblem) {
    this.#connection = connection;
    this.#showProblem = showProblem;
    this.#button.addEventListener("pointerdown", (event) => {
      this.#button.setPointerCapture(event.pointerId);
      this.#hold();
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) {
      this.#button.addEventListener(kind, () => this.release());
    }
    // Hidden pages repeat too slowly.
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.release(); });
    this.#button.addEventListener("contextmenu", (event) => event.preventDefault());
    for (const [kind, act] of [["keydown", () => this.#hold()], ["keyup", () => this.release()]]) {
      this.#button.addEventListener(kind, (event) => {
        if (event.key !== " " && event.key !== "Enter") return;
        event.preventDefault();
        if (!event.repeat) act();
      });
    }
  }

  /** Enable the button, or show why talking is not possible. */
  setAvailable(isConnected, hasListener) {
    let hint = "";
    if (!navigator.mediaDevices) hint = "Talking needs https or localhost: browsers block the microphone elsewhere.";
    else if (!hasListener) hint = "To talk, start the speech node (nothing subscribes to audio).";
    find("talk-hint").textContent = isConnected ? hint : "";
    this.#button.title = hint;
    this.#button.disabled = !isConnected || Boolean(hint);
    if (this.#button.disabled) this.release();
  }

  async #hold() {
    if (this.#isHeld || this.#button.disabled) return;
    this.#isHeld = true;
    this.#button.setAttribute("aria-pressed", "true");
    try {
      await this.#startMicrophone();
    } catch (error) {
      this.#showProblem(`no microphone: ${error.message}`);
      this.release();
      return;
    }
    if (!this.#isHeld) { // released while the browser asked for permission
      this.#stopMicrophone();
      return;
    }
    this.#isSending = true;
    this.#connection.send("talk", true);
    this.#repeating = setInterval(() => this.#connection.send("talk", true), REPEAT_MS);
  }

  release() {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    clearInterval(this.#repeating);
    this.#button.setAttribute("aria-pressed", "false");
    if (this.#isSending) this.#connection.send("talk", false);
    this.#isSending = false;
    this.#stopMicrophone();
  }

  async #startMicrophone() {
    this.#stream = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
    if (!this.#context) {
      this.#context = new AudioContext();
      await this.#context.audioWorklet.addModule("talk-worklet.js");
    }
    await this.#context.resume();
    this.#node = new AudioWorkletNode(this.#context, "talk", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.#node.port.onmessage = ({ data }) => {
      if (this.#isSending) this.#connection.sendAudio(data);
    };
    this.#context.createMediaStreamSource(this.#stream).connect(this.#node);
  }

  #stopMicrophone() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#node?.port.close();
    this.#node?.disconnect();
    this.#stream = this.#node = null;
  }
}
