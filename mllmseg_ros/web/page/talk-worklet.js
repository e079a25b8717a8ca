// SPDX-License-Identifier: Apache-2.0
// In the audio thread: from the device's rate to 16 kHz, band-limited, as chunks of 16-bit samples.

const RATE_HZ = 16000;
const CHUNK = 640; // samples, 40 ms
const LOBES = 8; // of the sinc on each side
const CUT = 0.92; // of the Nyquist frequency

class TalkProcessor extends AudioWorkletProcessor {
  #ratio = sampleRate / RATE_HZ;
  #reach = Math.ceil(LOBES * Math.max(1, sampleRate / RATE_HZ)); // input samples on each side
  #input = new Float32Array(this.#reach); // silence before the first
  #next = this.#reach; // position of the next output sample in #input
  #chunk = new Int16Array(CHUNK);
  #filled = 0;

  process([[samples]]) {
    if (!samples) return true;
    const input = new Float32Array(this.#input.length + samples.length);
    input.set(this.#input);
    input.set(samples, this.#input.length);
    while (this.#next + this.#reach < input.length) {
      this.#put(this.#at(input, this.#next));
      this.#next += this.#ratio;
    }
    const done = Math.max(0, Math.floor(this.#next) - this.#reach);
    this.#input = input.slice(done);
    this.#next -= done;
    return true;
  }

  /** The band-limited signal at a position between samples: a sinc with a Hann window. */
  #at(input, position) {
    const cut = CUT / Math.max(1, this.#ratio);
    const first = Math.ceil(position - this.#reach);
    const last = Math.floor(position + this.#reach);
    let sum = 0;
    for (let index = Math.max(0, first); index <= last; index += 1) {
      const x = index - position;
      const angle = Math.PI * cut * x;
      const sinc = Math.abs(angle) < 1e-9 ? 1 : Math.sin(angle) / angle;
      sum += input[index] * cut * sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / this.#reach));
    }
    return sum;
  }

  #put(value) {
    this.#chunk[this.#filled] = Math.round(32767 * Math.max(-1, Math.min(1, value)));
    this.#filled += 1;
    if (this.#filled === CHUNK) {
      this.port.postMessage(this.#chunk.buffer, [this.#chunk.buffer]);
      this.#chunk = new Int16Array(CHUNK);
      this.#filled = 0;
    }
  }
}

registerProcessor("talk", TalkProcessor);
