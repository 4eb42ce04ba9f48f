// Answering: fates of rows, changed fields, added rows.

import * as mask from "./mask.js";

const encoder = new TextEncoder();

/** Texts as the data and offsets of a column. */
function encode(texts) {
  const offsets = new Uint32Array(texts.length + 1);
  const joined = texts.join("");
  let data = encoder.encode(joined);
  if (data.length === joined.length) {
    texts.forEach((text, i) => {
      offsets[i + 1] = offsets[i] + text.length;
    });
    return { offsets, data };
  }
  // One by one, for halves of a letter at the seam of two texts must not become one.
  const parts = texts.map((text) => encoder.encode(text));
  parts.forEach((part, i) => {
    offsets[i + 1] = offsets[i] + part.length;
  });
  data = new Uint8Array(offsets[texts.length]);
  parts.forEach((part, i) => data.set(part, offsets[i]));
  return { offsets, data };
}

/** New values for some rows of one field. */
export class Update {
  #field;
  #rows = [];
  #texts = [];
  #removed = [];
  #json = [];

  constructor(field) {
    this.#field = field;
  }

  text(row, text) {
    this.#rows.push(row);
    this.#texts.push(text);
  }

  json(row, value) {
    const token = JSON.stringify(value);
    if (token === undefined) {
      throw new TypeError(`field ${this.#field}, row ${row}: ${typeof value} is no JSON value`);
    }
    this.#json.push(this.#rows.length);
    this.text(row, token);
  }

  token(row, token) {
    this.#json.push(this.#rows.length);
    this.text(row, token);
  }

  remove(row) {
    this.#removed.push(this.#rows.length);
    this.text(row, "");
  }

  get length() {
    return this.#rows.length;
  }

  /** As the contract has it. */
  toContract() {
    const present = this.#removed.length > 0 ? mask.full(this.length) : mask.clear(0);
    this.#removed.forEach((i) => mask.unset(present, i));
    const json = this.#json.length > 0 ? mask.clear(this.length) : mask.clear(0);
    this.#json.forEach((i) => mask.set(json, i));
    const values = { ...encode(this.#texts), present: mask.toWords(present), json: mask.toWords(json) };
    return { field: this.#field, rows: Uint32Array.from(this.#rows), values };
  }
}

/** A value of a row that a plugin makes, as the contract has it. */
function toValue(name, value) {
  switch (typeof value) {
    case "string":
      return { tag: "text", val: value };
    case "boolean":
      return { tag: "boolean", val: value };
    case "bigint":
      return { tag: "integer", val: value };
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? { tag: "integer", val: BigInt(value) }
        : { tag: "number", val: value };
    case "object":
      if (value === null) {
        return { tag: "null" };
      }
      return value instanceof Uint8Array ? { tag: "bytes", val: value } : { tag: "json", val: JSON.stringify(value) };
    default:
      throw new TypeError(`field ${name}: ${typeof value} is no value of a record`);
  }
}

/** A row that a plugin makes, as the contract has it. */
export function toRecord({ time, fields }) {
  const pairs = Array.isArray(fields) ? fields : Object.entries(fields);
  return { timestamp: BigInt(time), fields: pairs.map(([name, value]) => [name, toValue(name, value)]) };
}

/** The answer to one batch. Rows that are not mentioned are kept. */
export class Edits {
  #count;
  #keep = mask.clear(0);
  #absorbed = mask.clear(0);
  #routes = new Uint8Array(0);
  #edits = [];
  #added = [];
  #dropped = [];
  #dead = [];
  #wakeAt;

  constructor(count) {
    this.#count = count;
  }

  keepEach(verdict) {
    this.#keep = mask.clear(this.#count);
    const [keep, count] = [this.#keep, this.#count];
    // A word at a time: the engine of components is slow with arrays.
    for (let row = 0, word = 0; row < count; word++) {
      let bits = 0;
      const end = Math.min(row + 32, count);
      for (let bit = 1; row < end; row++, bit <<= 1) {
        if (verdict(row)) {
          bits |= bit;
        }
      }
      keep[word] = bits;
    }
  }

  drop(row, reason = 0) {
    if (this.#keep.length === 0) {
      this.#keep = mask.full(this.#count);
    }
    mask.unset(this.#keep, row);
    if (reason > 0) {
      this.#dropped.push([row, reason]);
    }
  }

  route(row, route) {
    if (this.#routes.length === 0) {
      this.#routes = new Uint8Array(this.#count);
    }
    this.#routes[row] = route;
  }

  absorb(row) {
    if (this.#absorbed.length === 0) {
      this.#absorbed = mask.clear(this.#count);
    }
    mask.set(this.#absorbed, row);
  }

  dead(row, reason) {
    this.#dead.push([row, reason]);
  }

  setAll(field, text) {
    this.#edits.push({ tag: "set-all", val: [field, text] });
  }

  rename(from, to) {
    this.#edits.push({ tag: "rename", val: [from, to] });
  }

  remove(field) {
    this.#edits.push({ tag: "remove", val: field });
  }

  update(update) {
    if (update.length > 0) {
      this.#edits.push({ tag: "update", val: update.toContract() });
    }
  }

  setTimes(rows, times) {
    if (rows.length > 0) {
      this.#edits.push({ tag: "timestamps", val: [Uint32Array.from(rows), BigInt64Array.from(times)] });
    }
  }

  add(parent, row, { route = 0, inherit = false } = {}) {
    this.#added.push({ parent, inherit, route, row: toRecord(row) });
  }

  wakeAt(time) {
    this.#wakeAt = time;
  }

  /** As the contract has it. */
  toContract() {
    return {
      keep: mask.toWords(this.#keep),
      edits: this.#edits,
      routes: this.#routes,
      added: this.#added,
      dropped: this.#dropped,
      absorbed: mask.toWords(this.#absorbed),
      dead: this.#dead,
      wakeAt: this.#wakeAt,
    };
  }
}
