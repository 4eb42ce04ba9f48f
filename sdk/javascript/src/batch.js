// Reading: the rows of one call, column by column.

import * as mask from "./mask.js";

// A byte order mark is a letter of the text like any other.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The values of one registered field. */
export class Column {
  #offsets;
  #data;
  #present;
  #json;
  /** The text of all values, if each of its letters is one byte; found out when the first value is asked for. */
  #whole;

  constructor({ offsets, data, present, json }) {
    this.#offsets = offsets;
    this.#data = data;
    this.#present = mask.fromWords(present);
    this.#json = mask.fromWords(json);
  }

  get length() {
    return this.#offsets.length - 1;
  }

  has(row) {
    return this.#present.length === 0 || mask.has(this.#present, row);
  }

  isJson(row) {
    return this.#json.length > 0 && mask.has(this.#json, row);
  }

  bytes(row) {
    return this.has(row) ? this.#data.subarray(this.#offsets[row], this.#offsets[row + 1]) : undefined;
  }

  get(row) {
    if (!this.has(row)) {
      return undefined;
    }
    // Decoding costs more than cutting. As many letters as bytes means that every byte is a letter of its own.
    this.#whole ??= decoder.decode(this.#data);
    if (this.#whole.length === this.#data.length) {
      return this.#whole.slice(this.#offsets[row], this.#offsets[row + 1]);
    }
    return decoder.decode(this.#data.subarray(this.#offsets[row], this.#offsets[row + 1]));
  }

  text(row) {
    return this.isJson(row) ? undefined : this.get(row);
  }

  value(row) {
    return this.isJson(row) ? JSON.parse(this.get(row)) : this.get(row);
  }
}

/** The rows of one call. */
export class Batch {
  constructor({ count, input, time, watermark, timestamps, columns }) {
    this.count = count;
    this.input = input;
    this.time = time;
    this.watermark = watermark;
    this.timestamps = timestamps;
    this.columns = columns.map((column) => new Column(column));
  }
}
