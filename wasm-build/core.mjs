// asm/ -> core module -> component -> ES module (docs/spec/wasm-core.md, section 2.1).

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Compiles asm/index.ts and answers the bytes of the core module. */
async function compileModule() {
  const { main } = await import("assemblyscript/asc");
  let module;
  const messages = [];
  const { error } = await main(
    [
      "asm/index.ts",
      "--outFile=core.wasm",
      "-O3",
      "--noAssert",
      "--runtime=minimal",
      "--enable=simd",
      "--use=abort=",
      "--transform=./wasm-build/export-names.mjs",
      `--baseDir=${root}`,
    ],
    {
      stdout: { write: (text) => messages.push(text) },
      stderr: { write: (text) => messages.push(text) },
      writeFile: (name, contents) => {
        if (name === "core.wasm") module = contents;
      },
    },
  );
  if (error !== null || module === undefined) {
    throw new Error(`compiling asm/index.ts failed\n${messages.join("")}${error?.message ?? ""}`);
  }
  return module;
}

/**
 * Builds the core.
 * @returns {Promise<Map<string, Uint8Array>>} file name -> content: core.js, core.d.ts, interfaces/*.d.ts, *.wasm, core.component.wasm
 */
export async function buildCore() {
  const binary = await compileModule();
  const { componentEmbed, componentNew, transpile } = await import("@bytecodealliance/jco");
  // The world is given as text: reading a WIT path fails in this version of jco (section 2.1, trap).
  const witSource = readFileSync(new URL("../asm/core.wit", import.meta.url), "utf8");
  const embedded = await componentEmbed({ binary, witSource, world: "core" });
  const component = await componentNew(embedded, []);
  // Without `strict` integers are coerced silently: -1 would be accepted as a u32.
  const { files } = await transpile(component, { name: "core", instantiation: "sync", strict: true, minify: true });
  return new Map([...Object.entries(files), ["core.component.wasm", component]]);
}
