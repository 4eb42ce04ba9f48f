// Write Sawlog plugins in JavaScript: say which columns you read, get them once per batch, give back only what changed. What it
// all means is written in index.d.ts.

export { Batch, Column } from "./batch.js";
export { component } from "./component.js";
export { Edits, Update } from "./edits.js";
export { count, gauge, log } from "#host";
