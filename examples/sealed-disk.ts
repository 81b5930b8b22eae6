// From an OCI layout to a disk image that boots with verification, without root, daemon or network.
//
//   sealed-disk LAYOUT DIRECTORY

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { checkSysroot, ComposefsError, createDiskImage, installDeployment } from "composefs";

const [image = "", directory = ""] = process.argv.slice(2);
const sysroot = join(directory, "sysroot");
const esp = join(directory, "esp");
const paths = { sysroot, esp, bootloader: "systemd", offline: true } as const;

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
const { signal } = stop;

try {
  for (const path of [sysroot, esp]) mkdirSync(path, { recursive: true });
  const { id, manifest } = await installDeployment(
    paths,
    { transport: "oci", image },
    { verity: "sealed", kargs: ["root=LABEL=root", "rw"], signal },
  );
  console.log(`installed ${id} from ${manifest}`);

  const { ok, findings } = await checkSysroot(paths, { deep: true, signal });
  if (!ok) throw new Error(findings.map(({ message }) => message).join("; "));

  const disk = await createDiskImage(sysroot, join(directory, "disk.img"), { esp, signal });
  console.log(`${disk.path}: ${disk.size} bytes, ${disk.sealed} files sealed, ${disk.partitions.length} partitions`);
} catch (error) {
  if (!(error instanceof ComposefsError)) throw error;
  console.error(`${error.reason ?? error.code}: ${error.message}`, error.hint ?? "");
  process.exitCode = 1;
}
