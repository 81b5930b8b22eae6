// `npm run test:runtimes [-- RUNTIME...]`: packs the project, installs the tarball into an empty folder for each runtime and
// does the main job there - command line and library - on this Node, a current Node, Deno and Bun. Every id and every output
// must be the same everywhere, and the ids those of the goldens. Then the recorded directories are made and scanned without root
// on each, and the unit suite runs on the other runtimes.
//
//   COMPOSEFS_RUNTIMES_SUITE=no   leaves the unit suite out

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { unprivileged } from "./unprivileged.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const here = fileURLToPath(new URL(".", import.meta.url));
const programs = join(here, "node_modules/.bin");

/** How each runtime starts a script and vitest, which would leave one of two cores free. Bun's files are threads of one process. */
const RUNTIMES = [
  { name: "node", command: process.execPath, args: [], vitest: [], suite: false },
  { name: "node-current", command: join(programs, "node"), args: [], vitest: ["--maxWorkers=2"], suite: true },
  { name: "deno", command: join(programs, "deno"), args: ["run", "-A"], vitest: ["--maxWorkers=2"], suite: true },
  { name: "bun", command: join(programs, "bun"), args: ["--bun"], vitest: ["--pool=threads"], suite: true },
];

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !RUNTIMES.some((runtime) => runtime.name === name));
if (unknown.length > 0) {
  console.error(
    `test:runtimes: unknown runtime ${unknown.join(", ")}; known: ${RUNTIMES.map(({ name }) => name).join(", ")}`,
  );
  process.exit(2);
}
const runtimes = RUNTIMES.filter(({ name }) => asked.length === 0 || asked.includes(name));

const counts = { passed: 0, failed: 0, skipped: 0 };
function passed(name) {
  counts.passed++;
  console.log(`passed: ${name}`);
}
function failed(name, why) {
  counts.failed++;
  console.log(`failed: ${name}: ${String(why).trimEnd().slice(0, 2000)}`);
}

/** Runs a program to its end; never throws. */
function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28, timeout: 300_000, ...options });
  return {
    status: result.status,
    stdout: result.stdout ?? "",
    stderr: result.error ? String(result.error) : (result.stderr ?? ""),
  };
}

function must(command, args, options) {
  const result = run(command, args, options);
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(" ")}: ${result.status}\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

function installRuntimes() {
  const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
  const present = Object.entries(dependencies).every(([name, wanted]) => {
    const manifest = join(here, "node_modules", name, "package.json");
    return existsSync(manifest) && wanted.endsWith(JSON.parse(readFileSync(manifest, "utf8")).version);
  });
  if (!present) {
    console.log("installing the runtimes");
    must("npm", ["ci", "--no-audit", "--no-fund"], { cwd: here });
  }
  // The package of Bun is a stub until its install script has run, which npm may have been told not to do.
  if (run(join(programs, "bun"), ["--version"]).status !== 0) {
    must(process.execPath, ["install.js"], { cwd: join(here, "node_modules/bun") });
  }
}

function sha256(text) {
  return createHash("sha256").update(text, "latin1").digest("hex");
}

/** The golden images and the example, as folders below `folder`; references relative to its parent. */
function unpackImages(folder) {
  const goldens = process.env.COMPOSEFS_GOLDENS ?? join(root, "test/goldens");
  const index = JSON.parse(readFileSync(join(goldens, "oci/index.json"), "utf8"));
  const images = index.images.map((image) => {
    const target = join(folder, image.name);
    if (!existsSync(target)) {
      mkdirSync(target, { recursive: true });
      must("tar", ["-xf", join(goldens, "oci", image.layout), "-C", target]);
    }
    return {
      tag: `${image.name}-${image.tag}`,
      reference: `oci:images/${image.name}:${image.tag}`,
      ids: image.image_ids ?? {},
    };
  });
  const malformed = index.malformed.map((image) => {
    const target = join(folder, image.name);
    mkdirSync(target, { recursive: true });
    must("tar", ["-xf", join(goldens, "oci", image.layout ?? `${image.name}.tar`), "-C", target]);
    return { tag: image.name, reference: `oci:images/${image.name}`, must: image.must };
  });
  cpSync(join(root, "examples/layout"), join(folder, "example"), { recursive: true });
  const { id } = JSON.parse(readFileSync(join(root, "examples/expected.json"), "utf8"));
  images.push({
    tag: "example",
    reference: "oci:images/example:v1",
    ids: { sha512: { v1: id } },
  });
  return { images, malformed };
}

/**
 * What a pull says, without the id of the manifest's stream: it depends on the zstd encoder of the runtime
 * (docs/spec/splitstream.md, section 4.3).
 */
const pulled = ({ status, stdout }) => `${status} ${stdout.replace(/^verity .*$/m, "verity")}`;
/** A large answer, for comparing. */
const brief = ({ status, stdout }) => `${status} ${stdout.length} bytes, sha256 ${sha256(stdout)}`;

/** The main job by one runtime: everything it answers, by the name of the step. */
function mainJob(runtime, folder, { images, malformed }) {
  const answers = new Map();
  const program = realpathSync(join(folder, "node_modules/.bin/composefs"));
  const composefs = (...args) =>
    run(runtime.command, [...runtime.args, program, ...args], { cwd: folder, encoding: "latin1" });
  const step = (name, args, pick = ({ status, stdout }) => `${status} ${stdout}`) => {
    const result = composefs(...args);
    answers.set(name, pick(result));
    if (result.status !== (name.startsWith("refuse") ? 1 : 0)) {
      failed(`${runtime.name}: ${name}`, `exit status ${result.status}: ${result.stderr}`);
    }
    return result;
  };

  step("version", ["--version"]);
  for (const algorithm of ["sha512", "sha256"]) {
    const repository = `repository-${algorithm}`;
    step(`${algorithm} init`, ["init", "--insecure", "--algorithm", `fsverity-${algorithm}-12`, repository]);
    const at = (...args) => ["--repo", repository, ...args];
    for (const { tag, reference, ids } of images) {
      // The goldens were recorded for amd64; artifacts have no platform.
      const options = ids.sha256 || ids.sha512 ? ["--platform", "linux/amd64"] : [];
      step(`${algorithm} pull ${tag}`, at("oci", "pull", ...options, reference, tag), pulled);
      const v1 = ids[algorithm]?.v1;
      const isImage = v1 !== undefined;
      if (isImage) {
        const { stdout } = step(`${algorithm} inspect ${tag}`, at("oci", "inspect", tag));
        let id;
        try {
          id = JSON.parse(stdout).composefs_erofs;
        } catch (error) {
          id = String(error);
        }
        if (id !== v1) failed(`${runtime.name}: ${algorithm} id of ${tag}`, `${id}, the golden is ${v1}`);
      }
      if (isImage && algorithm === "sha256") {
        step(`compute-id V2 ${tag}`, at("--erofs-version", "2", "oci", "compute-id", tag));
        step(`dump ${tag}`, at("oci", "dump", tag), brief);
        step(`image-objects ${tag}`, at("image-objects", v1), brief);
      }
    }
    const { stdout } = step(`${algorithm} images`, at("oci", "images", "--json"));
    if (algorithm === "sha256") {
      for (const image of JSON.parse(stdout).images.slice(0, 8)) {
        step(`cat ${image.name}`, at("cat", `oci-manifest-${image.manifest_digest}`), brief);
      }
      for (const { tag, reference } of malformed.filter((image) => image.must === "reject")) {
        step(
          `refuse ${tag}`,
          at("--quiet", "oci", "pull", reference, tag),
          ({ status, stderr }) => `${status} ${stderr}`,
        );
      }
    }
  }
  const library = run(
    runtime.command,
    [...runtime.args, join(folder, "library.mjs"), "oci:images/01-basic:latest", "repository-library"],
    { cwd: folder },
  );
  if (library.status !== 0) failed(`${runtime.name}: library`, library.stderr);
  answers.set("library", library.stdout);
  return answers;
}

function compare(reference, runtime) {
  const names = new Set([...reference.answers.keys(), ...runtime.answers.keys()]);
  let different = 0;
  for (const name of names) {
    const [wanted, got] = [reference.answers.get(name), runtime.answers.get(name)];
    if (wanted === got) continue;
    different++;
    const [wantedLines, gotLines] = [String(wanted).split("\n"), String(got).split("\n")];
    const line = gotLines.findIndex((text, i) => text !== wantedLines[i]);
    failed(
      `${runtime.name}: ${name} differs from ${reference.name} in line ${line + 1}`,
      `\n${gotLines[line]?.slice(0, 700)}\ninstead of\n${wantedLines[line]?.slice(0, 700)}`,
    );
  }
  if (different === 0) passed(`${runtime.name}: all ${names.size} answers are those of ${reference.name}`);
}

/**
 * The unit suite, or some files of it, on a runtime; its tests are counted one by one. Answers how many passed.
 *
 * @param place where the checkout and the report lie, and what becomes of the command line; see unprivileged.mjs
 */
async function unitSuite(runtime, name, files, { place, home, wrap }) {
  const report = join(home, `${runtime.name}.json`);
  const [command, args] = wrap(runtime.command, [
    ...runtime.args,
    join(place, "node_modules/vitest/vitest.mjs"),
    "run",
    // The usual loader writes into node_modules.
    "--configLoader=runner",
    "--project",
    "unit",
    ...runtime.vitest,
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...files,
  ]);
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], timeout: 900_000 });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  const status = await new Promise((resolve) => child.once("close", resolve));
  if (!existsSync(report)) {
    failed(`${runtime.name}: ${name}`, `exit status ${status}, no report\n${output.slice(-2000)}`);
    return 0;
  }
  const before = counts.failed;
  let ran = 0;
  let inapplicable = 0;
  for (const file of JSON.parse(readFileSync(report, "utf8")).testResults) {
    for (const test of file.assertionResults) {
      if (test.status === "passed") {
        counts.passed++;
        ran++;
      } else if (test.status === "failed") {
        failed(`${runtime.name}: ${file.name.slice(place.length)}: ${test.fullName}`, test.failureMessages?.[0] ?? "");
      } else {
        counts.skipped++;
        // Cases of the data that a test says nothing about give no reason.
        if (test.fullName.includes("skipped:")) console.log(`skipped: ${runtime.name}: ${test.fullName}`);
        else inapplicable++;
      }
    }
    if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")) {
      failed(`${runtime.name}: ${file.name.slice(place.length)}`, file.message);
    }
  }
  if (ran === 0) failed(`${runtime.name}: ${name}`, "it ran no test");
  else if (status !== 0 && counts.failed === before) failed(`${runtime.name}: ${name}`, `exit status ${status}`);
  console.log(`${runtime.name}: ${name}: ${ran} tests passed, ${inapplicable} cases of the data not applicable`);
  return ran;
}

/** The recorded directories without root on each runtime, with the same number of tests. */
async function unprivilegedTrees(folder) {
  mkdirSync(folder);
  const setting = unprivileged(root, folder);
  if (setting.reason !== undefined) {
    counts.skipped++;
    console.log(`skipped: recorded directories without root: ${setting.reason}`);
    return;
  }
  const name = "recorded directories without root";
  const ran = [];
  for (const runtime of runtimes) ran.push(await unitSuite(runtime, name, ["test/tree/goldens.test.ts"], setting));
  if (new Set(ran).size > 1) failed(name, `not the same number of tests passed on each runtime: ${ran.join(", ")}`);
  else passed(`${name}: ${ran[0]} tests on each of ${runtimes.map((runtime) => runtime.name).join(", ")}`);
}

const work = mkdtempSync(join(tmpdir(), "composefs-runtimes-"));
process.on("exit", () => rmSync(work, { recursive: true, force: true }));
try {
  installRuntimes();
  for (const runtime of runtimes) {
    const version = run(runtime.command, ["--version"]);
    if (version.status !== 0) throw new Error(`${runtime.name} does not start: ${version.stderr}`);
    console.log(`${runtime.name}: ${version.stdout.split("\n")[0]}`);
  }
  const [{ filename }] = JSON.parse(must("npm", ["pack", "--json", "--pack-destination", work], { cwd: root }));
  const images = unpackImages(join(work, "images"));
  for (const runtime of runtimes) {
    const folder = join(work, runtime.name);
    mkdirSync(folder);
    writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
    must("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", join(work, filename)], { cwd: folder });
    cpSync(join(work, "images"), join(folder, "images"), { recursive: true });
    cpSync(join(here, "library.mjs"), join(folder, "library.mjs"));
    const before = counts.failed;
    const start = performance.now();
    runtime.answers = mainJob(runtime, folder, images);
    if (counts.failed === before) passed(`${runtime.name}: main job of the installed package`);
    console.log(`${runtime.name}: main job took ${((performance.now() - start) / 1000).toFixed(1)} s`);
    if (runtime !== runtimes[0]) compare(runtimes[0], runtime);
  }
  chmodSync(work, 0o755);
  await unprivilegedTrees(join(work, "unprivileged"));
  if (process.env.COMPOSEFS_RUNTIMES_SUITE !== "no") {
    const asIs = { place: root, home: work, wrap: (command, args) => [command, args] };
    for (const runtime of runtimes.filter(({ suite }) => suite)) await unitSuite(runtime, "unit suite", [], asIs);
  }
} catch (error) {
  failed("runtimes", error instanceof Error ? error.message : error);
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
