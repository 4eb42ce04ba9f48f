// Natively, without WASM: `node --test` in the SDK's folder.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { batchOf, run } from "@sawlog/sdk/testing";
import { Tidy } from "./tidy.js";

const CONFIG = '{"at_least":"warn","fields":["body"],"add":{"name":"cluster","text":"eu-1"}}';

test("tidy natively", () => {
  const tidy = new Tidy();
  assert.deepEqual(tidy.configure(CONFIG).columns, ["level", "body"]);
  const levels = ["info", "WARNING", undefined];
  const bodies = ["a@b.co", "by ann@example.com, 4111 1111 1111 1111.", "nothing"];
  const answer = run(tidy, batchOf([levels, bodies]));
  assert.deepEqual([0, 1, 2].map((row) => answer.kept(row)), [false, true, true]);
  assert.deepEqual([...answer.updated("body")], [[0, "[email]"], [1, "by [email], [card]."]]);
});

test("a wrong level is refused", () => {
  assert.throws(() => new Tidy().configure(CONFIG.replace("warn", "loud")), /at_least: "loud" is no level/);
});

test("the golden files, whose texts stand at the top", () => {
  const folder = new URL("../../example/golden/edges/", import.meta.url);
  const lines = (name) => readFileSync(new URL(name, folder), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  const tidy = new Tidy();
  tidy.configure(readFileSync(new URL("config.json", folder), "utf8"));
  const input = lines("input.ndjson");
  const answer = run(tidy, batchOf([input.map((r) => r.level), input.map((r) => r.body), input.map(() => undefined)]));
  const updated = answer.updated("body");
  let compared = 0;
  for (const { row, dropped, record } of lines("output.ndjson")) {
    assert.equal(answer.kept(row), dropped === undefined, `row ${row}`);
    if (typeof record?.body === "string") {
      assert.equal(updated.get(row) ?? input[row].body, record.body, `row ${row}`);
      compared++;
    }
  }
  assert.ok(compared > 50);
});
