// `npm run test:goldens -- AREA...`: runs the suites that read these golden areas, with the data in COMPOSEFS_GOLDENS
// (default: test/goldens). A suite belongs to an area when it, or a module of the tests that it
// imports, calls goldensDir("AREA"). Without AREA: every area with a suite.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const AREAS = ["fsverity", "erofs", "dumpfile", "tree", "repository", "oci", "cstor", "boot", "deploy"];
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = resolve(process.env.COMPOSEFS_GOLDENS ?? join(root, "test/goldens"));

function stop(status, ...lines) {
  for (const line of lines) console.error(line);
  process.exit(status);
}

const asked = process.argv.slice(2).filter((argument) => !argument.startsWith("-"));
const options = process.argv.slice(2).filter((argument) => argument.startsWith("-"));
const unknown = asked.filter((area) => !AREAS.includes(area));
if (unknown.length > 0) {
  stop(
    2,
    `test:goldens: unknown area ${unknown.join(", ")}`,
    `usage: npm run test:goldens -- [AREA...], AREA one of: ${AREAS.join(", ")}`,
  );
}

/** The areas that a file of the tests reads, by itself or through what it imports below test/. */
function areasOf(file, seen = new Set()) {
  if (seen.has(file)) return [];
  seen.add(file);
  const text = readFileSync(file, "utf8");
  const own = [...text.matchAll(/goldensDir\(\s*["'](\w+)["']\s*\)/g)].map(([, area]) => area);
  for (const area of own) {
    if (!AREAS.includes(area)) stop(1, `test:goldens: ${relative(root, file)} reads the unknown area ${area}`);
  }
  const imported = [...text.matchAll(/from\s+["'](\.[^"']+\.ts)["']/g)].map(([, path]) => join(dirname(file), path));
  const below = imported.filter((path) => path.startsWith(join(root, "test")));
  return [...own, ...below.flatMap((path) => areasOf(path, seen))];
}

/** Test files by area. */
function suites() {
  const byArea = new Map(AREAS.map((area) => [area, []]));
  for (const entry of readdirSync(join(root, "test"), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".test.ts")) continue;
    const file = join(entry.parentPath ?? entry.path, entry.name);
    if (/[\\/](node_modules|interop|privileged|crash|runtimes|vm)[\\/]/.test(file.slice(root.length))) continue;
    for (const area of new Set(areasOf(file))) byArea.get(area).push(file);
  }
  return byArea;
}

const byArea = suites();
const areas = asked.length > 0 ? asked : AREAS.filter((area) => byArea.get(area).length > 0);
if (areas.length === 0) stop(1, "test:goldens: no suite reads any golden area");
for (const area of areas) {
  if (byArea.get(area).length === 0) stop(1, `test:goldens: there is no suite for the area ${area} yet`);
  const data = join(folder, area);
  if (!existsSync(data) || readdirSync(data).length === 0) {
    stop(
      1,
      `test:goldens: no golden data in ${data}`,
      "COMPOSEFS_GOLDENS must name a folder that holds one folder per area",
    );
  }
}

const files = [...new Set(areas.flatMap((area) => byArea.get(area)))].map((file) => relative(root, file));
console.log(`golden data: ${folder}`);
for (const area of areas)
  console.log(
    `  ${area}: ${byArea
      .get(area)
      .map((file) => relative(root, file))
      .join(", ")}`,
  );
const without = AREAS.filter((area) => byArea.get(area).length === 0);
if (asked.length === 0 && without.length > 0) console.log(`  no suite yet: ${without.join(", ")}`);

const vitest = join(root, "node_modules/vitest/vitest.mjs");
const run = spawnSync(process.execPath, [vitest, "run", "--project", "unit", "--maxWorkers=2", ...options, ...files], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, COMPOSEFS_GOLDENS: folder },
});
process.exit(run.status ?? 1);
