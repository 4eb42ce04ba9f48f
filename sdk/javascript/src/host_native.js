// What the host offers, in native tests: it is only written down.

/** What the plugin said so far: `["log", level, message]`, `["count", metric, delta]`, `["gauge", metric, value]`. */
export const said = [];

export const log = (level, message) => void said.push(["log", level, message]);
export const count = (metric, delta = 1) => void said.push(["count", metric, delta]);
export const gauge = (metric, value) => void said.push(["gauge", metric, value]);
