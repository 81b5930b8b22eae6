// AssemblyScript transform: gives the functions of an interface the export names of the canonical ABI, which are not
// identifiers. The naming rule is described in asm/index.ts.

import { Transform } from "assemblyscript/transform";

/** Which source file implements which interface of asm/core.wit. */
const INTERFACES = {
  "asm/fsverity/exports": "composefs:core/fsverity@0.1.0",
  "asm/erofs/exports": "composefs:core/erofs@0.1.0",
  "asm/erofs-read/exports": "composefs:core/erofs-reader@0.1.0",
};

const POST_RETURN = "asm/abi/return-area/postReturn";

const kebab = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The member's name within its interface: `hasher_pushDump` is `[method]hasher.push-dump`. */
function memberName(functionName) {
  const [first, second] = functionName.split("_");
  if (second === undefined) return kebab(first);
  const resource = kebab(first);
  if (second === "constructor") return `[constructor]${resource}`;
  if (second === "drop") return `[dtor]${resource}`;
  return `[method]${resource}.${kebab(second)}`;
}

export default class ExportNames extends Transform {
  afterCompile(module) {
    const exports = [];
    for (let i = 0; i < module.getNumExports(); i++) {
      exports.push(this.binaryen.getExportInfo(module.getExportByIndex(i)));
    }
    for (const { name, value } of exports) {
      const [, file, functionName] = /^(.*)\/([^/]+)$/.exec(value) ?? [];
      const wit = INTERFACES[file];
      if (wit === undefined) continue;
      const member = `${wit}#${memberName(functionName)}`;
      module.addFunctionExport(value, member);
      module.removeExport(name);
      // Only functions that answer an address of the return area have something to clean up; constructors answer a handle.
      const { results } = this.binaryen.getFunctionInfo(module.getFunction(value));
      if (results !== this.binaryen.none && !member.includes("[constructor]")) {
        module.addFunctionExport(POST_RETURN, `cabi_post_${member}`);
      }
    }
    module.removeExport("postReturn");
  }
}
