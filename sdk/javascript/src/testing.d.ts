import type { Batch, Plugin } from "./index.js";

/** A value of a column: text, bytes, undefined where the row has no such field, anything else as JSON. */
export type Cell = string | Uint8Array | undefined | null | boolean | number | object;

/** A batch of `columns`, each with a value a row. */
export function batchOf(
  columns: Cell[][],
  options?: { input?: string; time?: bigint; watermark?: bigint; timestamps?: (number | bigint)[] },
): Batch;

/** What a plugin answered. */
export interface Answer {
  /** As the contract has it, in the form of the bindings. */
  readonly raw: object;
  /** Whether the row's keep bit is set. */
  kept(row: number): boolean;
  /** The texts that rows of `field` were given. */
  updated(field: string): Map<number, string>;
}

/** Runs one batch through `plugin`, which is configured. */
export function run(plugin: Plugin, batch: Batch): Answer;

/** What plugins said to the host so far. */
export const said: unknown[][];
