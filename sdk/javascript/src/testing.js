// What native tests of plugins need: batches without a host.

import { Batch } from "./batch.js";
import { Edits } from "./edits.js";
import * as mask from "./mask.js";

export { said } from "./host_native.js";

const encoder = new TextEncoder();

/** A column as the host gives it. */
function toColumn(values) {
  const isJson = (value) => value !== undefined && typeof value !== "string" && !(value instanceof Uint8Array);
  const parts = values.map((value) => {
    if (value instanceof Uint8Array) {
      return value;
    }
    return encoder.encode(isJson(value) ? JSON.stringify(value) : (value ?? ""));
  });
  const [present, json] = [mask.clear(values.length), mask.clear(values.length)];
  const offsets = new Uint32Array(values.length + 1);
  parts.forEach((part, row) => {
    offsets[row + 1] = offsets[row] + part.length;
    if (values[row] !== undefined) {
      mask.set(present, row);
    }
    if (isJson(values[row])) {
      mask.set(json, row);
    }
  });
  const data = new Uint8Array(offsets[values.length]);
  parts.forEach((part, row) => data.set(part, offsets[row]));
  return { offsets, data, present: mask.toWords(present), json: mask.toWords(json) };
}

export function batchOf(columns, { input = "test", time = 0n, watermark = -(1n << 63n), timestamps = [] } = {}) {
  const count = columns[0]?.length ?? timestamps.length;
  const times = BigInt64Array.from(timestamps, BigInt);
  return new Batch({ count, input, time, watermark, timestamps: times, columns: columns.map(toColumn) });
}

export function run(plugin, batch) {
  const edits = new Edits(batch.count);
  plugin.process(batch, edits);
  return new Answer(edits.toContract());
}

/** The text of each value of a column. */
function texts({ offsets, data }) {
  const decoder = new TextDecoder();
  return Array.from({ length: offsets.length - 1 }, (_, i) => decoder.decode(data.subarray(offsets[i], offsets[i + 1])));
}

/** What a plugin answered, readable. */
class Answer {
  constructor(raw) {
    this.raw = raw;
  }

  kept(row) {
    return this.raw.keep.length === 0 || mask.has(mask.fromWords(this.raw.keep), row);
  }

  updated(field) {
    const found = new Map();
    for (const { tag, val } of this.raw.edits) {
      if (tag === "update" && val.field === field) {
        const values = texts(val.values);
        val.rows.forEach((row, i) => found.set(row, values[i]));
      }
    }
    return found;
  }
}
