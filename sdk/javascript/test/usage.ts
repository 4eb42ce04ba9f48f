// What plugins in TypeScript may write, and what the compiler must refuse: `tsc -p sdk/javascript/test` checks it, nothing runs it.

import { Update, component, count, gauge, log } from "@sawlog/sdk";
import type { Batch, Edits, Emitted, Plugin, Registration, Row, StatefulPlugin } from "@sawlog/sdk";
import { batchOf, run, said } from "@sawlog/sdk/testing";

class Filter implements Plugin {
  configure(config: string, files: Map<string, Uint8Array>): Registration {
    const { level }: { level?: string } = JSON.parse(config);
    return { name: level ?? "filter", version: "0.1.0", columns: ["level", `$rid`], lateness: files.size };
  }

  process(batch: Batch, edits: Edits): void {
    const level = batch.columns[0]!;
    edits.keepEach((row) => level.get(row) !== "debug");
    const update = new Update("http.status");
    for (let row = 0; row < batch.count; row++) {
      const text: string | undefined = level.text(row);
      const bytes: Uint8Array | undefined = level.bytes(row);
      if (level.has(row) && level.isJson(row) && text === undefined) {
        update.json(row, level.value(row));
      } else if (bytes?.length === 0) {
        update.remove(row);
      }
    }
    edits.update(update);
    edits.drop(0, 1);
    edits.route(1, 1);
    edits.absorb(2);
    edits.dead(3, "no reason");
    edits.setAll("cluster", "eu-1");
    edits.rename("a", "b.c");
    edits.remove("c");
    edits.setTimes([0], [batch.time]);
    const row: Row = { time: batch.timestamps[0] ?? batch.watermark, fields: { n: 1, big: 2n, bytes: new Uint8Array() } };
    edits.add(0, row, { route: 1, inherit: true });
    edits.wakeAt(batch.time + 1n);
    log("warn", `${update.length}`);
    count("rows", batch.count);
    gauge("share", 0.5);

    // @ts-expect-error: times are 64-bit integers
    edits.wakeAt(1);
    // @ts-expect-error: there is no such level
    log("fatal", "x");
    // @ts-expect-error: a column may be missing
    batch.columns[1].get(0);
    // @ts-expect-error: a value may be missing
    level.get(0).length;
    // @ts-expect-error: what the host gave is not the plugin's to change
    batch.count = 0;
  }
}

class Counter extends Filter implements StatefulPlugin {
  private seen = 0;
  snapshot(): Uint8Array {
    return Uint8Array.of(this.seen);
  }
  restore([seen]: Uint8Array): void {
    this.seen = seen ?? 0;
  }
  flush(now: bigint): Emitted[] {
    return [{ time: now, route: 1, fields: [["seen", this.seen]] }];
  }
}

export const { lifecycle, transform, state } = component(Counter);

// @ts-expect-error: a plugin without state exports none
export const { state: none } = component(Filter);

// @ts-expect-error: a registration needs its columns
const registration: Registration = { name: "a", version: "0.1.0" };

// @ts-expect-error: a plugin takes batches
const plugin: Plugin = { configure: () => registration };

const answer = run(new Filter(), batchOf([["info", undefined, new Uint8Array(), 1, null]], { time: 1n }));
export const kept: boolean = answer.kept(0);
export const updated: Map<number, string> = answer.updated("http.status");
export const words: unknown[][] = said;
export default plugin;
