// Reading: the rows of one call, column by column.

import * as mask from "./mask.js";

// A byte order mark is a letter of the text like any other.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The values of one registered field. Its fields are not `#private`, which the engine of components is slow with. */
export class Column {
  constructor({ offsets, data, present, json }) {
    this.length = offsets.length - 1;
    this._offsets = offsets;
    this._data = data;
    /** Undefined where no value is missing, or none is JSON. */
    this._present = present.length > 0 ? mask.fromWords(present) : undefined;
    this._json = json.length > 0 ? mask.fromWords(json) : undefined;
    /** The text of all values, if each of its letters is one byte; found out when the first value is asked for. */
    this._whole = undefined;
  }

  has(row) {
    return this._present === undefined || mask.has(this._present, row);
  }

  isJson(row) {
    return this._json !== undefined && mask.has(this._json, row);
  }

  bytes(row) {
    return this.has(row) ? this._data.subarray(this._offsets[row], this._offsets[row + 1]) : undefined;
  }

  get(row) {
    if (this._present !== undefined && !mask.has(this._present, row)) {
      return undefined;
    }
    const whole = this._whole ?? this._decode();
    const offsets = this._offsets;
    if (whole !== "") {
      return whole.slice(offsets[row], offsets[row + 1]);
    }
    return decoder.decode(this._data.subarray(offsets[row], offsets[row + 1]));
  }

  /** Decoding costs more than cutting. As many letters as bytes means that every byte is a letter of its own. */
  _decode() {
    const whole = decoder.decode(this._data);
    this._whole = whole.length === this._data.length ? whole : "";
    return this._whole;
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
