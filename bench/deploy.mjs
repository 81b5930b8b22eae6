// A sysroot with 50 deployments and 500 images of applications: how long `deploy status` takes above start-up, and `deploy gc --dry-run`
// against `cfsctl gc --dry-run` of the same repository, in turns, start-up of each taken off.
//
//   node bench/deploy.mjs [--quick] [--runs N]
//
// A ratio above 1 means that we are faster, although we also plan what deployments need. `--quick` takes a tenth of both.

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cfsctl, median, run } from "./process.mjs";
import { header, writeLayout } from "./pull-layout.mjs";
import { pull, Repository } from "../dist/index.js";

const flags = process.argv.slice(2);
const share = flags.includes("--quick") ? 0.1 : 1;
const DEPLOYMENTS = 50 * share;
const APPLICATIONS = 500 * share;
const FILES = 20;
const runs = Number(flags[flags.indexOf("--runs") + 1]) || 7;
const MAIN = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const peer = cfsctl();

/** A layer with a few files of its own. */
function layer(name) {
  const parts = ["usr/", "boot/", "sysroot/"].map((path) => header(path, "5", 0, 0o755));
  for (let i = 0; i < FILES; i++) {
    const content = Buffer.alloc(4096, `${name} ${i} `);
    parts.push(header(`usr/file-${i}`, "0", content.length, 0o644), content);
  }
  const blob = Buffer.concat([...parts, Buffer.alloc(1024)]);
  const diffId = createHash("sha256").update(blob).digest("hex");
  return { diffId, blob, mediaType: "application/vnd.oci.image.layer.v1.tar" };
}

async function makeSysroot(sysroot, layouts) {
  const path = join(sysroot, "composefs");
  mkdirSync(join(sysroot, "boot/loader/entries"), { recursive: true });
  mkdirSync(join(sysroot, "state/os/default/var"), { recursive: true });
  await Repository.init(path, { algorithm: "sha512", insecure: true });
  const repository = await Repository.open(path, { write: true, durability: "none" });
  const base = layer("base");
  const make = async (name, options) => {
    const folder = join(layouts, name);
    writeLayout(folder, [{ tag: name, layers: [base, layer(name)] }]);
    return pull(repository, `oci:${folder}:${name}`, options);
  };
  for (let i = 0; i < APPLICATIONS; i++) await make(`app-${i}`, { tag: `apps/app-${i}:1` });
  for (let i = 0; i < DEPLOYMENTS; i++) {
    const pulled = await make(`os-${i}`, { tag: (digest) => `localhost/bootc-${digest}`, bootable: true });
    const id = pulled.bootImages[0].id;
    const state = join(sysroot, "state/deploy", id);
    mkdirSync(join(state, "etc"), { recursive: true });
    symlinkSync("../../os/default/var", join(state, "var"));
    writeFileSync(
      join(state, `${id}.origin`),
      `[origin]\ncontainer-image-reference = ostree-unverified-image:docker://h.example/os:${i}\n\n[boot]\nboot_type = bls\n\n[image]\nmanifest_digest = ${pulled.manifestDigest}\n`,
    );
    const kernels = join(sysroot, `boot/bootc_composefs-${id}`);
    mkdirSync(kernels);
    for (const name of ["vmlinuz", "initrd"]) writeFileSync(join(kernels, name), name);
    writeFileSync(
      join(sysroot, `boot/loader/entries/bootc_os-${i}-1.conf`),
      `title OS\nversion ${i}\nlinux /boot/bootc_composefs-${id}/vmlinuz\ninitrd /boot/bootc_composefs-${id}/initrd\noptions rw composefs=?${id}\nsort-key bootc-os-0\n`,
    );
  }
  await repository.close();
}

const row = (fields) => console.log(JSON.stringify({ bench: "deployments", ...fields }));
const milliseconds = (seconds) => `${Math.round(seconds * 1000)} ms`;
const work = mkdtempSync(join(tmpdir(), "composefs-bench-deploy-"));
try {
  const sysroot = join(work, "sysroot");
  await makeSysroot(sysroot, join(work, "layouts"));
  const ours = (...args) => run(process.execPath, [MAIN, "--quiet", ...args]);
  const where = ["--sysroot", sysroot, "--bootloader", "grub"];
  const rounds = [];
  for (let i = 0; i < runs; i++)
    rounds.push({
      start: await ours("--version"),
      status: await ours("deploy", "status", ...where, "--json"),
      gc: await ours("deploy", "gc", "--dry-run", ...where),
      peerStart: await run(peer, ["--version"]),
      peerGc: await run(peer, ["--insecure", "--repo", join(sysroot, "composefs"), "gc", "--dry-run"]),
    });
  const above = (what, start) => median(rounds.map((one) => Math.max(0.0001, one[what].seconds - one[start].seconds)));
  const size = `${DEPLOYMENTS} deployments, ${APPLICATIONS} applications`;
  row({ case: `status, ${size}`, ours: milliseconds(above("status", "start")), result: "", aim: "≤ 150 ms" });
  const [a, b] = [above("gc", "start"), above("peerGc", "peerStart")];
  row({
    case: `gc --dry-run, ${size}`,
    ours: milliseconds(a),
    peer: milliseconds(b),
    result: (b / a).toFixed(2),
    aim: "≥ 1.0",
  });
} finally {
  rmSync(work, { recursive: true, force: true });
}
