// What `npm start` runs. Alone: sets the work tree up, pulls the bundled example into a repository of its own and says
// what happened. With arguments (`npm start -- oci images`): the command line.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`composefs needs Node 20.19 or newer; this is ${process.version}`);
  process.exit(1);
}

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const node = (args, options = {}) => spawnSync(process.execPath, args, { stdio: "inherit", ...options });

const setup = node([at("wasm-build/setup.mjs")]);
if (setup.status !== 0) process.exit(setup.status ?? 1);

const args = process.argv.slice(2);
if (args.length > 0) {
  const { status, signal } = node([at("dist/cli/main.js"), ...args], { cwd: process.env.INIT_CWD ?? process.cwd() });
  process.exit(status ?? (signal === "SIGINT" ? 130 : 1));
}

const repository = ".cache/example-repository";
const layout = "examples/layout";

/** Runs the command line, showing the command first; returns its JSON. */
function composefs(...words) {
  console.log(`\n$ composefs ${words.join(" ")}`);
  const run = (more) =>
    spawnSync(process.execPath, [at("dist/cli/main.js"), ...words, ...more], {
      cwd: at("."),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
  const { status, stdout } = run([]);
  process.stdout.write(stdout);
  if (status !== 0) process.exit(status ?? 1);
  return stdout;
}

const first = !existsSync(at(repository));
console.log(
  first ? "Making a repository and pulling the bundled example into it." : "Pulling the bundled example again.",
);

composefs("init", "--insecure", repository);
// Whatever this machine is, the example has amd64 and arm64.
const platform = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
composefs("--repo", repository, "oci", "pull", "--platform", platform, `oci:${layout}:v1`, "example:v1");
composefs("--repo", repository, "oci", "images");
const id = composefs("--repo", repository, "oci", "compute-id", "example:v1").trim();

const { id: expected } = JSON.parse(readFileSync(at("examples/expected.json"), "utf8"));
console.log();
if (id !== expected) {
  console.error(`The image id is ${id},\nbut ${expected} was expected.`);
  process.exit(1);
}
console.log(`Three layers (gzip, zstd, plain tar) were checked against the digests in the image's manifest and config while
they streamed in; each file became an object named by its fs-verity digest; the merged tree became one EROFS image.
Its id was computed again from the layers and is the one that the reference implementation, cfsctl 0.9, gives:
  ${id}

Try next:
  npm start -- --repo ${repository} oci dump example:v1      every file of the image, one a line
  npm start -- --repo ${repository} oci inspect example:v1   manifest, config and image id
  npm start -- oci pull oci:DIRECTORY:TAG                      an image of your own, into your user's repository
  npm start -- --help
  npm test`);
