// In place of jco, of which componentize-js needs three functions for its last step: to make a component of the module that it
// has made. `sawlog plugin build` takes that step itself, as it does for other languages, with nothing of WASI; so the module is
// handed on as it is, and some hundred megabytes are not installed.

import { fileURLToPath } from "node:url";

/** A file that is read and not used. */
export const preview1AdapterReactorPath = () => fileURLToPath(import.meta.url);

export const componentNew = async (module) => module;

export const metadataAdd = async (module) => module;
