/**
 * Write Sawlog plugins in JavaScript or TypeScript: say which columns you read, get them once per batch, give back only what
 * changed. A plugin must not depend on time or on random numbers: the same input gives the same output wherever batches are cut.
 * Times are unix nanoseconds, which need 64 bits and so are `bigint`.
 */

/** What a plugin wants and offers. */
export interface Registration {
  name: string;
  version: string;
  /** Field paths and pseudo-columns (`$record`, `$rid`, `$received`, `$source`) that it reads, in the order of `Batch.columns`. */
  columns: string[];
  /** Whether it reads event times. */
  timestamps?: boolean;
  /** Names of routes 1, 2, … */
  routes?: string[];
  /** Names of drop reasons 1, 2, … */
  dropReasons?: string[];
  /** Version of the snapshot format. */
  stateVersion?: number;
  /** How far event time may run behind the newest row, nanoseconds. */
  lateness?: number | bigint;
}

/** Takes batches, gives edits. */
export interface Plugin {
  /**
   * Called once per instance with the plugin's section of the configuration (JSON text) and the files that the configuration
   * names for it. What it throws refuses the configuration and is shown to the operator.
   */
  configure(config: string, files: Map<string, Uint8Array>): Registration;
  /**
   * Decides and edits the rows of a batch. What it throws makes the host cut the batch until single rows are refused; those go to
   * the dead letters.
   */
  process(batch: Batch, edits: Edits): void;
}

/** Keeps state over batches. */
export interface StatefulPlugin extends Plugin {
  /** The state as bytes. The same state must give the same bytes. */
  snapshot(): Uint8Array;
  /** Takes over a snapshot of the same `stateVersion`. */
  restore(snapshot: Uint8Array): void;
  /** Takes over a snapshot of an older `stateVersion`. Without it there is none that could be taken over. */
  upgrade?(version: number, old: Uint8Array): void;
  /** The partition is idle or has ended and event time is taken to be `now`: give out what was held back. */
  flush(now: bigint): Emitted[];
}

/** The values of one registered field. */
export class Column {
  private constructor();
  /** Number of rows. */
  readonly length: number;
  /** Whether the row has the field. */
  has(row: number): boolean;
  /** Whether the value is a JSON token (number, boolean, null, object, array) and not text. */
  isJson(row: number): boolean;
  /** What the row says, whether text or a JSON token as it stood; undefined if it has no such field. Bytes that are no UTF-8 become U+FFFD. */
  get(row: number): string | undefined;
  /** The row's text; undefined if it has no such field or the value is no text. */
  text(row: number): string | undefined;
  /** The row's value, a JSON token parsed (a long integer loses digits: `get` has them); undefined if it has no such field. */
  value(row: number): unknown;
  /** What the row says as bytes, which may be no UTF-8; undefined if it has no such field. */
  bytes(row: number): Uint8Array | undefined;
}

/** The rows of one call. It lives until `process` returns. */
export class Batch {
  private constructor();
  readonly count: number;
  /** Id of the component that the rows come from. */
  readonly input: string;
  /** The planned time of the batch: the only clock there is. */
  readonly time: bigint;
  /** That of event time before row 0; the smallest 64-bit integer before any row. */
  readonly watermark: bigint;
  /** Event times; empty unless the registration asks for them. */
  readonly timestamps: BigInt64Array;
  readonly columns: Column[];
}

/** A value of a row that a plugin makes: null, boolean, integer, number, text, bytes (text that may be no UTF-8), or JSON. */
export type Value = null | boolean | bigint | number | string | Uint8Array | object;

/** A row that a plugin makes. */
export interface Row {
  /** Event time. */
  time: number | bigint;
  fields: Record<string, Value> | [name: string, value: Value][];
}

/** A row given out by `flush`; route 0, the default output, if it names none. */
export interface Emitted extends Row {
  route?: number;
}

/** New values for some rows of one field. Rows must ascend strictly. */
export class Update {
  /** Of `field`, a path. */
  constructor(field: string);
  /** Sets the field to text. */
  text(row: number, text: string): void;
  /** Sets the field to a number, boolean, null, object or array. */
  json(row: number, value: unknown): void;
  /** Sets the field to a JSON token, spelled as it is. */
  token(row: number, token: string): void;
  /** Removes the field. */
  remove(row: number): void;
  /** Number of rows so far. */
  readonly length: number;
}

/** The answer to one batch. Rows that are not mentioned are kept. */
export class Edits {
  constructor(count: number);
  /** Decides every row: it is kept where `verdict` says so. */
  keepEach(verdict: (row: number) => boolean): void;
  /** Ends a row: reason 0 is "filtered", n the n-th drop reason of the registration. Rows ascend, here and below. */
  drop(row: number, reason?: number): void;
  /** Sends a row to the n-th route of the registration; 0 is the default output. */
  route(row: number, route: number): void;
  /** Ends a row that lives on in the plugin's state only. */
  absorb(row: number): void;
  /** Sends a row to the dead letters. */
  dead(row: number, reason: string): void;
  /** The same text in every row. It must not depend on the batch. */
  setAll(field: string, text: string): void;
  /** Renames a field, over what is there. */
  rename(from: string, to: string): void;
  /** Removes a field from every row. */
  remove(field: string): void;
  /** New values for some rows of a field; nothing if there are none. */
  update(update: Update): void;
  /** New event times for some rows. */
  setTimes(rows: number[], times: bigint[]): void;
  /** Adds a row behind row `parent`, which gave rise to it; `inherit`: it begins as a copy of the parent's fields. */
  add(parent: number, row: Row, options?: { route?: number; inherit?: boolean }): void;
  /** Asks to be flushed once event time passes `time`, because rows are held back. */
  wakeAt(time: bigint): void;
}

/** What a component exports. Destructure it into exports of the plugin's first file. */
export function component<P extends Plugin>(
  plugin: new () => P,
): P extends StatefulPlugin ? { lifecycle: object; transform: object; state: object } : { lifecycle: object; transform: object };

/** A line in the agent's log, at most 1 KiB. Never for every row. */
export function log(level: "debug" | "info" | "warn" | "error", message: string): void;
/** Adds to a counter of the plugin. */
export function count(metric: string, delta?: number | bigint): void;
/** Sets a gauge of the plugin. */
export function gauge(metric: string, value: number): void;
