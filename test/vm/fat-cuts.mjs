// Runs in the guest: a command on a sysroot whose ESP is on FAT, stopped before every STRIDEth call that changes something there. Prints, as
// JSON, how many moments there were and what was wrong after one.
//
//   node fat-cuts.mjs LIBRARY LAYOUTS FOLDER ESP JOB STRIDE
//
// Two layouts, one and two; an empty folder to work in; the empty ESP; rollback, delete or upgrade.

import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { withPowerCut } from "../fixtures/power.mjs";

const [, , libraryPath, layouts, folder, esp, wanted, stride] = process.argv;
const library = await import(libraryPath);
const sysroot = join(folder, "sysroot");
const image = join(folder, "image");
const paths = { sysroot, bootloader: "systemd", esp };

function emptied(directory) {
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
}

function layout(version) {
  rmSync(image, { recursive: true, force: true });
  cpSync(join(layouts, version), image, { recursive: true });
}

// Node 20 has no `using`.
async function opened(action) {
  const open = await library.OpenSysroot.open(library.locateSysroot(paths));
  try {
    return await action(open);
  } finally {
    await open.close();
  }
}

mkdirSync(sysroot, { recursive: true });
layout("one");
const reference = { transport: "oci", image };
const { id } = await library.installDeployment(paths, reference, { verity: "allow-missing" });
layout("two");
// The image is there before the first cut: what is cut is what changes the ESP.
await opened((open) => library.upgradeDeployment(open));
const [both, bothEsp] = [join(folder, "both"), join(folder, "both-esp")];
cpSync(sysroot, both, { recursive: true, verbatimSymlinks: true });
cpSync(esp, bothEsp, { recursive: true });
await opened((open) => library.deleteDeployment(open, id));
const [one, oneEsp] = [join(folder, "one"), join(folder, "one-esp")];
cpSync(sysroot, one, { recursive: true, verbatimSymlinks: true });
cpSync(esp, oneEsp, { recursive: true });
layout("one");

const jobs = [
  {
    name: "rollback",
    from: both,
    fromEsp: bothEsp,
    run: () => opened((open) => library.rollBack(open, id)),
    entries: 2,
  },
  { name: "delete", from: both, fromEsp: bothEsp, run: () => opened((open) => remove(open)), entries: 1 },
  {
    name: "upgrade",
    from: one,
    fromEsp: oneEsp,
    run: () => opened((open) => library.upgradeDeployment(open)),
    entries: 2,
  },
];

async function remove(open) {
  try {
    await library.deleteDeployment(open, id);
  } catch (error) {
    if (error.reason !== "E_DEPLOYMENT_NOT_FOUND") throw error;
  }
}

const wrong = [];
let moments = 0;
for (const { name, from, fromEsp, run, entries } of jobs.filter((job) => job.name === wanted)) {
  for (let after = 0; ; after += Number(stride)) {
    rmSync(sysroot, { recursive: true, force: true });
    cpSync(from, sysroot, { recursive: true, verbatimSymlinks: true });
    emptied(esp);
    cpSync(fromEsp, esp, { recursive: true });
    const isCut = await withPowerCut(after, run, esp);
    const menu = async (when, least) => {
      const { findings } = await library.checkSysroot(paths);
      for (const finding of findings)
        if (finding.level === "error") wrong.push(`${name}, cut ${after}, ${when}: ${JSON.stringify(finding)}`);
      const found = readdirSync(join(esp, "loader/entries")).filter((file) => file.endsWith(".conf")).length;
      if (found < least) wrong.push(`${name}, cut ${after}, ${when}: ${found} entries`);
    };
    await menu("then", 1);
    await run();
    await menu("and again", entries);
    if (!isCut) break;
    moments++;
  }
}
console.log(JSON.stringify({ moments, wrong }));
