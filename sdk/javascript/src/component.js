// From a plugin to what a component exports.

import { Batch } from "./batch.js";
import { Edits, toRecord } from "./edits.js";
import { seal } from "./sealed.js";

/** What was thrown, in words. */
const words = (thrown) => (thrown instanceof Error ? thrown.message : `${thrown}`);

/** What `work` gives; a failure of the contract's form if it throws. */
function orRejected(work) {
  try {
    return work();
  } catch (thrown) {
    throw { tag: "rejected", val: words(thrown) };
  }
}

/** What `work` gives; a text if it throws. */
function orText(work) {
  try {
    return work();
  } catch (thrown) {
    throw words(thrown);
  }
}

const toRegistration = (wanted) => ({
  name: wanted.name,
  version: wanted.version,
  columns: wanted.columns,
  timestamps: wanted.timestamps ?? false,
  routes: wanted.routes ?? [],
  dropReasons: wanted.dropReasons ?? [],
  stateVersion: wanted.stateVersion ?? 0,
  lateness: BigInt(wanted.lateness ?? 0),
});

/** The state's functions, over the plugin that `get` gives. */
const stateOf = (get) => ({
  snapshot: () => get().snapshot(),
  restore: (snapshot) => orText(() => void get().restore(snapshot)),
  upgrade: (version, old) =>
    orText(() => {
      if (get().upgrade === undefined) {
        throw new Error(`state of version ${version} is not understood`);
      }
      get().upgrade(version, old);
    }),
  flush: (now) =>
    orRejected(() => get().flush(now).map(({ route = 0, ...row }) => ({ route, row: toRecord(row) }))),
});

export function component(Plugin) {
  const keepsState = typeof Plugin.prototype.snapshot === "function";
  // The names that the entry file exports, set by the build; a native test has none.
  const exported = globalThis.SAWLOG_EXPORTS;
  if (exported !== undefined && exported.includes("state") !== keepsState) {
    throw new Error("export `state` too if the plugin has `snapshot`, and only then");
  }
  if (exported !== undefined) {
    seal(globalThis);
  }
  let plugin;
  const lifecycle = {
    configure: (config, files) =>
      orText(() => {
        plugin = new Plugin();
        return toRegistration(plugin.configure(config, new Map(files)));
      }),
  };
  const transform = {
    process: (batch) =>
      orRejected(() => {
        const edits = new Edits(batch.count);
        plugin.process(new Batch(batch), edits);
        return edits.toContract();
      }),
  };
  return keepsState ? { lifecycle, transform, state: stateOf(() => plugin) } : { lifecycle, transform };
}
