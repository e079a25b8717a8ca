// SPDX-License-Identifier: Apache-2.0
// Audio worklet: resample from the device's rate to 16 kHz, into chunks of 16-bit samples.

const RATE_HZ = 16000;
const CHUNK = 640; // samples, 40 ms
const LOBES = 8; // of the sinc, on each side
const CUTOFF = 0.92; // share of the Nyquist frequency

class TalkProcessor extends AudioWorkletProcessor {
  #ratio = sampleRate / RATE_HZ;
  #radius = Math.ceil(LOBES * Math.max(1, sampleRate / RATE_HZ)); // input samples on each side
  #input = new Float32Array(this.#radius); // silence before the first
  #next = this.#radius; // position of the next output sample in #input
  #chunk = new Int16Array(CHUNK);
  #filled = 0;

  process([[samples]]) {
    if (!samples) return true;
    const input = new Float32Array(this.#input.length + samples.length);
    input.set(this.#input);
    input.set(samples, this.#input.length);
    while (this.#next + this.#radius < input.length) {
      this.#append(this.#interpolate(input, this.#next));
      this.#next += this.#ratio;
    }
    const done = Math.max(0, Math.floor(this.#next) - this.#radius);
    this.#input = input.slice(done);
    this.#next -= done;
    return true;
  }

  /** Interpolate the band-limited signal at a position: a sinc with a Hann window. */
  #interpolate(input, position) {
    const cutoff = CUTOFF / Math.max(1, this.#ratio);
    const first = Math.ceil(position - this.#radius);
    const last = Math.floor(position + this.#radius);
    let sum = 0;
    for (let index = Math.max(0, first); index <= last; index += 1) {
      const x = index - position;
      const angle = Math.PI * cutoff * x;
      const sinc = Math.abs(angle) < 1e-9 ? 1 : Math.sin(angle) / angle;
      sum += input[index] * cutoff * sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / this.#radius));
    }
    return sum;
  }

  #append(value) {
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
