// Boot images with the SELinux policy of Debian, 5 600 rules, against cfsctl, in turns, start-up included:
//   compute-id --bootable of a directory of 70 000 paths named as Debian names them, and
//   pull --bootable of the 500 MB layout of the pull benchmark.
//
//   node bench/boot.mjs [--runs=5] [--compression=gzip] [--hash=sha256,sha512] [--runtime=PATH]
//
// A ratio above 1 means that we are faster. Names and policy come from the Debian root that the interop suites keep:
// `npm run test:peers -- test/interop/labels.test.ts` makes it.

import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cfsctl, mebibytes, median, run } from "./process.mjs";
import { header, pullLayout } from "./pull-layout.mjs";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    compression: { type: "string", default: "gzip" },
    hash: { type: "string", default: "sha256,sha512" },
    runtime: { type: "string", default: process.execPath },
  },
});

const PATHS = 70_000;
const MAIN = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const RUNTIME = values.runtime.endsWith("deno") ? [values.runtime, "run", "-A"] : [values.runtime];
const ours = (...args) => run(RUNTIME[0], [...RUNTIME.slice(1), MAIN, "--quiet", "--progress=none", ...args]);
const peer = cfsctl();
const theirs = (...args) => run(peer, args);

function debianRoot() {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "composefs-ci");
  const found = existsSync(cache)
    ? readdirSync(cache).find((name) => /^debian-bootable-[a-z]+-[0-9]+$/.test(name))
    : undefined;
  if (found !== undefined) return join(cache, found, "root");
  throw new Error("there is no Debian root: npm run test:peers -- test/interop/labels.test.ts makes it");
}

/** The files of the policy but for the compiled ones, by path in the image. */
function policyFiles(root) {
  const folder = "etc/selinux/default/contexts/files";
  const names = readdirSync(join(root, folder)).filter(
    (name) => name.startsWith("file_contexts") && !name.endsWith(".bin"),
  );
  const files = new Map(names.map((name) => [`${folder}/${name}`, readFileSync(join(root, folder, name))]));
  return files.set("etc/selinux/config", Buffer.from("SELINUXTYPE=default\n"));
}

/** Sizes are those of the files, up to this. */
const MAX_SIZE = 128 << 10;

/**
 * Debian's directories and files, as often as it takes: each copy of a file has another name, beside the first one, and other content
 * of the same size.
 */
function makeDirectory(target, root, policy) {
  const pool = Buffer.alloc(MAX_SIZE, "some text that is not looked at ");
  const listed = readdirSync(root, { recursive: true, withFileTypes: true });
  const entries = listed.map((entry) => ({
    entry,
    path: join(entry.parentPath ?? entry.path, entry.name).slice(root.length + 1),
  }));
  let left = PATHS;
  for (const { entry, path } of entries) {
    if (!entry.isDirectory()) continue;
    mkdirSync(join(target, path), { recursive: true });
    left--;
  }
  const files = entries.filter(({ entry }) => !entry.isDirectory() && !/[^ -~]/.test(entry.name));
  for (let copy = 0; left > 0; copy++) {
    for (const { path } of files.slice(0, left)) {
      const name = copy === 0 ? basename(path) : `${copy}-${basename(path)}`;
      const { size } = lstatSync(join(root, path));
      pool.write(`${copy} ${path}\n`);
      writeFileSync(join(target, dirname(path), name), pool.subarray(0, Math.min(size, MAX_SIZE)));
      left--;
    }
  }
  for (const [path, content] of policy) {
    mkdirSync(dirname(join(target, path)), { recursive: true });
    writeFileSync(join(target, path), content);
  }
  // Versions of cfsctl differ in what they do with fractions.
  for (const name of ["usr", "boot", "sysroot"]) utimesSync(join(target, name), 1700000000, 1700000000);
}

function policyLayer(policy) {
  const parts = [];
  const directory = (path) => parts.push(header(`${path}/`, "5", 0, 0o755));
  for (const path of ["boot", "sysroot", "etc", "etc/selinux", "etc/selinux/default"]) directory(path);
  directory("etc/selinux/default/contexts");
  directory("etc/selinux/default/contexts/files");
  for (const [path, content] of policy) {
    parts.push(header(path, "0", content.length, 0o644), content, Buffer.alloc((512 - (content.length % 512)) % 512));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** Ours and theirs in turns; both print the same result. */
async function compare(name, aim, once) {
  const pairs = [];
  for (let i = 0; i < Number(values.runs); i++) {
    const order = i % 2 === 0 ? ["b", "a"] : ["a", "b"];
    const pair = {};
    for (const who of order) pair[who] = await once(who === "a" ? ours : theirs, `${name}-${i}-${who}`);
    if (pair.a.output !== pair.b.output)
      throw new Error(`our result ${pair.a.output} is not the peer's, ${pair.b.output}`);
    pairs.push(pair);
  }
  const of = (value) => median(pairs.map(value));
  const shown = (who) =>
    `${of((pair) => pair[who].seconds).toFixed(2)} s, CPU ${of((pair) => pair[who].cpu).toFixed(1)} s, ${mebibytes(of((pair) => pair[who].memory))}`;
  console.log(
    JSON.stringify({
      bench: "boot",
      case: name,
      ours: shown("a"),
      peer: shown("b"),
      result: of(({ a, b }) => b.seconds / a.seconds).toFixed(2),
      aim,
    }),
  );
}

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "bench-boot-"));
try {
  const root = debianRoot();
  const policy = policyFiles(root);
  const tree = join(folder, "tree");
  makeDirectory(tree, root, policy);
  const hashes = values.hash.split(",");
  for (const hash of hashes) {
    const words = ["--no-repo", "--hash", hash, "compute-id", "--bootable", tree];
    await compare(`compute-id --bootable, ${PATHS} paths, ${hash}`, "≥ 1.2", (program) => program(...words));
  }
  rmSync(tree, { recursive: true });
  for (const compression of values.compression.split(",")) {
    const layout = await pullLayout(compression, { name: "boot", tar: policyLayer(policy) });
    for (const hash of hashes) {
      await compare(`pull --bootable, 500 MB ${compression}, ${hash}`, "≥ 1.0", async (program, id) => {
        const repository = join(folder, id.replace(/[^\w]/g, "-"));
        execFileSync(peer, ["init", "--insecure", "--algorithm", `fsverity-${hash}-12`, repository], {
          stdio: "ignore",
        });
        const result = await program("--repo", repository, "oci", "pull", "--bootable", `oci:${layout}:bench`, "bench");
        rmSync(repository, { recursive: true });
        return { ...result, output: /^Boot image: .*$/m.exec(result.output)?.[0] };
      });
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
