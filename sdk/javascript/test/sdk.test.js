import assert from "node:assert/strict";
import { test } from "node:test";
import { component, Edits, Update } from "@sawlog/sdk";
import { batchOf } from "@sawlog/sdk/testing";
import { seal } from "../src/sealed.js";

const bytes = (...values) => Uint8Array.from(values);

test("a column gives text, tokens and bytes", () => {
  const [column] = batchOf([["a\u{feff}", undefined, 1.5, "é", { a: [1] }, "", null]]).columns;
  const rows = Array.from({ length: column.length }, (_, row) => row);
  assert.deepEqual(rows.map((row) => column.get(row)), ["a\u{feff}", undefined, "1.5", "é", '{"a":[1]}', "", "null"]);
  assert.deepEqual(rows.map((row) => column.text(row)), ["a\u{feff}", undefined, undefined, "é", undefined, "", undefined]);
  assert.deepEqual(rows.map((row) => column.value(row)), ["a\u{feff}", undefined, 1.5, "é", { a: [1] }, "", null]);
  assert.deepEqual([...column.bytes(3)], [0xc3, 0xa9]);
  assert.equal(column.bytes(1), undefined);
});

test("bytes that are no UTF-8 stay within their row", () => {
  // Two halves of a letter at the seam, and bytes that are one letter each.
  for (const values of [[bytes(0x61, 0xc3), bytes(0xa9, 0x62)], [bytes(0xff), bytes(0x62, 0xfe)]]) {
    const [column] = batchOf([values]).columns;
    const expected = values.map((value) => new TextDecoder().decode(value));
    assert.deepEqual([column.get(0), column.get(1)], expected);
  }
});

test("masks have a bit for every row of more than a word", () => {
  const rows = Array.from({ length: 130 }, (_, row) => row);
  const [column] = batchOf([rows.map((row) => (row % 3 === 0 ? undefined : `${row}`))]).columns;
  const edits = new Edits(130);
  edits.keepEach((row) => column.has(row));
  edits.drop(1);
  edits.drop(129, 2);
  edits.absorb(64);
  const { keep, absorbed, dropped } = edits.toContract();
  const bit = (words, row) => (words[row >> 6] >> BigInt(row & 63)) & 1n;
  assert.equal(keep.length, 3);
  rows.forEach((row) => assert.equal(bit(keep, row), row % 3 === 0 || row === 1 ? 0n : 1n, `row ${row}`));
  assert.deepEqual([...absorbed], [0n, 1n, 0n]);
  assert.deepEqual(dropped, [[129, 2]]);
});

test("an update of texts, tokens and removals", () => {
  const update = new Update("x");
  update.text(0, "a\ud800");
  update.text(1, "\udc00é");
  update.json(2, [1, "é"]);
  update.token(3, "1.50");
  update.remove(7);
  const { field, rows, values } = update.toContract();
  const at = (i) => new TextDecoder().decode(values.data.subarray(values.offsets[i], values.offsets[i + 1]));
  assert.deepEqual([field, [...rows]], ["x", [0, 1, 2, 3, 7]]);
  assert.deepEqual([0, 1, 2, 3, 4].map(at), ["a\ufffd", "\ufffdé", '[1,"é"]', "1.50", ""]);
  assert.deepEqual([[...values.present], [...values.json]], [[0xffffffffffffffefn], [0b1100n]]);
  assert.throws(() => update.json(8, undefined), /row 8: undefined is no JSON value/);
});

test("values of added rows have the contract's kinds", () => {
  const edits = new Edits(1);
  const fields = { a: null, b: true, c: 3, d: 9007199254740993n, e: 0.5, f: "t", g: bytes(1), h: { x: 1 } };
  edits.add(0, { time: 5, fields }, { inherit: true });
  edits.wakeAt(9n);
  const { added, wakeAt } = edits.toContract();
  const [{ parent, inherit, route, row }] = added;
  assert.deepEqual([parent, inherit, route, row.timestamp, wakeAt], [0, true, 0, 5n, 9n]);
  const tags = ["null", "boolean", "integer", "integer", "number", "text", "bytes", "json"];
  assert.deepEqual(row.fields.map(([, { tag }]) => tag), tags);
  assert.deepEqual([row.fields[2][1].val, row.fields[3][1].val, row.fields[7][1].val], [3n, 9007199254740993n, '{"x":1}']);
  assert.throws(() => edits.add(0, { time: 0, fields: { u: undefined } }), /field u/);
});

class Counter {
  seen = 0;
  configure(config, files) {
    if (config === "bad") {
      throw new Error("config: it is bad");
    }
    return { name: "counter", version: "1", columns: [...files.keys()] };
  }
  process(batch) {
    if (batch.count === 0) {
      throw new Error("empty");
    }
    this.seen += batch.count;
  }
  snapshot() {
    return bytes(this.seen);
  }
  restore([seen]) {
    this.seen = seen;
  }
  flush(now) {
    return [{ time: now, fields: { seen: this.seen } }];
  }
}

test("a component answers and fails as the contract says", () => {
  const { lifecycle, transform, state } = component(Counter);
  const { lateness, dropReasons, columns } = lifecycle.configure("{}", [["level", bytes()]]);
  assert.deepEqual([lateness, dropReasons, columns], [0n, [], ["level"]]);
  const batch = (count) => ({ count, input: "in", time: 0n, watermark: 0n, timestamps: new BigInt64Array(0), columns: [] });
  assert.deepEqual(transform.process(batch(2)).edits, []);
  assert.deepEqual([...state.snapshot()], [2]);
  state.restore(bytes(7));
  const [{ route, row }] = state.flush(3n);
  assert.deepEqual([route, row], [0, { timestamp: 3n, fields: [["seen", { tag: "integer", val: 7n }]] }]);
  const thrown = (work) => {
    try {
      work();
    } catch (error) {
      return error;
    }
    return undefined;
  };
  assert.equal(thrown(() => lifecycle.configure("bad", [])), "config: it is bad");
  assert.deepEqual(thrown(() => transform.process(batch(0))), { tag: "rejected", val: "empty" });
  lifecycle.configure("{}", []);
  assert.equal(thrown(() => state.upgrade(1, bytes())), "state of version 1 is not understood");
});

test("a component has no clock and no random numbers", () => {
  const scope = { Date: class extends Date {}, Math: {}, crypto: {} };
  seal(scope);
  for (const ask of [() => scope.Date.now(), () => new scope.Date(), () => scope.Date()]) {
    assert.throws(ask, /no clock: take `batch.time`/);
  }
  assert.equal(new scope.Date(5).getTime(), 5);
  assert.ok(new scope.Date(5) instanceof scope.Date);
  for (const ask of [scope.Math.random, scope.crypto.randomUUID, () => scope.crypto.getRandomValues(bytes(0))]) {
    assert.throws(ask, /no random numbers: take the column `\$rid`/);
  }
});

test("a plugin that keeps state must export it", () => {
  globalThis.SAWLOG_EXPORTS = ["lifecycle", "transform"];
  try {
    assert.throws(() => component(Counter), /export `state`/);
  } finally {
    delete globalThis.SAWLOG_EXPORTS;
  }
});
