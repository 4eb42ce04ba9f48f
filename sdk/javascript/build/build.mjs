// A plugin's sources → a core module of the contract, of which `sawlog plugin build` makes a component.
//   node build.mjs ENTRY SDK WIT OUT
// ENTRY is a .js or .ts file; what it imports is bundled, `@sawlog/sdk` is the folder SDK. WIT holds the contract and the worlds
// `plain-transformer` and `plain-stateful-transformer`, between which the exports of ENTRY decide.

import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { componentize } from "@bytecodealliance/componentize-js";
import { build } from "esbuild";

/** Nothing of these is there for a plugin. */
const FEATURES = ["stdio", "random", "clocks", "http", "fetch-event"];

/** One file of everything, and the names that it exports. */
async function bundle(entry, sdk, exported) {
  const bundled = await build({
    entryPoints: [entry],
    absWorkingDir: dirname(entry),
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    conditions: ["sawlog"],
    alias: { "@sawlog/sdk": join(sdk, "src/index.js") },
    external: ["sawlog:*"],
    define: { "globalThis.SAWLOG_EXPORTS": JSON.stringify(exported) },
    metafile: true,
    write: false,
    logLevel: "silent",
  });
  const [output] = Object.values(bundled.metafile.outputs);
  return { source: bundled.outputFiles[0].text, exported: output.exports };
}

const [entry, sdk, witPath, out] = process.argv.slice(2);
try {
  const { exported } = await bundle(entry, sdk, []);
  const { source } = await bundle(entry, sdk, exported);
  const worldName = exported.includes("state") ? "plain-stateful-transformer" : "plain-transformer";
  const { component } = await componentize(source, { witPath, worldName, disableFeatures: FEATURES });
  await writeFile(out, component);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
