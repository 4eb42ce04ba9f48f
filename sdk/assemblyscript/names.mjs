// Gives exports the names that the contract has: AssemblyScript knows identifiers alone. Used as `asc --transform ./names.mjs`.

import { Transform } from "assemblyscript/transform";

const NAMES = {
  realloc: "cabi_realloc",
  configure: "sawlog:plugin/lifecycle@0.1.0#configure",
  process: "sawlog:plugin/transform@0.1.0#process",
  processed: "cabi_post_sawlog:plugin/transform@0.1.0#process",
};

export default class Names extends Transform {
  afterCompile(module) {
    for (const [name, contract] of Object.entries(NAMES)) {
      const { value } = this.binaryen.getExportInfo(module.getExport(name));
      module.removeExport(name);
      module.addFunctionExport(value, contract);
    }
  }
}
