// kill -9 between every two system calls of `oci prepare-boot`: each entry of the boot directory names whole files, one that was there
// before is as it was, the repository is sound, and the same command again ends where an undisturbed one does.
//
//   COMPOSEFS_CRASH_CUTS  how many cuts at most, evenly spread; all when left out

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { prepareBoot } from "../../src/oci/prepare-boot.ts";
import { Repository } from "../../src/repository/repository.ts";
import { bootLayout, kernelBytes } from "../fixtures/boot-layouts.ts";
import { describeWithPeers } from "../peer.ts";
import { newRepository, pullImage, workFolder } from "./setup.ts";
import { expectSound } from "./soundness.ts";
import { isMutation, recordCalls, runUntil } from "./strace.ts";

const limit = Number(process.env["COMPOSEFS_CRASH_CUTS"] ?? Number.POSITIVE_INFINITY);

const OLD = {
  "old/vmlinuz": "an older kernel",
  "old/initramfs.img": "its initramfs",
  "loader/entries/old.conf": "version 1\nlinux /old/vmlinuz\ninitrd /old/initramfs.img\noptions composefs=old\n",
};
const NEW = { vmlinuz: kernelBytes("kernel", 100_001), "initramfs.img": kernelBytes("initramfs", 70_001) };

describeWithPeers(["strace"], "kill -9 before every call of oci prepare-boot", () => {
  const folder = workFolder();
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const start = join(folder, "start");
  const args = (place: string) =>
    `--repo ${place}/repository oci prepare-boot t --bootdir ${place}/boot --entry-id new --cmdline rw --quiet`.split(
      " ",
    );

  /** Content by path below the boot directory and the state, unfinished files left out. */
  function files(place: string): Record<string, string> {
    return Object.fromEntries(
      ["boot", "state"].flatMap((top) =>
        existsSync(join(place, top))
          ? readdirSync(join(place, top), { recursive: true, encoding: "utf8" })
              .filter((name) => !/(^|\/)\.composefs-[0-9a-f]{16}$/.test(name))
              .map((name) => {
                const path = join(place, top, name);
                return [`${top}/${name}`, statSync(path).isFile() ? readFileSync(path, "latin1") : "directory"];
              })
          : [],
      ),
    );
  }

  beforeAll(() => {
    mkdirSync(start);
    newRepository(join(start, "repository"));
    const modules = Object.entries(NEW).map(([name, bytes]) => [`usr/lib/modules/6/${name}`, bytes]);
    pullImage(join(start, "repository"), bootLayout(join(folder, "layout"), "t", Object.fromEntries(modules)), "t");
    for (const [path, text] of Object.entries(OLD)) {
      mkdirSync(join(start, "boot", path, ".."), { recursive: true });
      writeFileSync(join(start, "boot", path), text);
    }
  });

  it("leaves a menu that boots", async () => {
    const undisturbed = join(folder, "undisturbed");
    cpSync(start, undisturbed, { recursive: true, verbatimSymlinks: true });
    const calls = (await recordCalls(undisturbed, args(undisturbed))).filter(isMutation);
    const goal = files(undisturbed);
    const bodies = new Map<string, string>([
      ...Object.entries(OLD),
      ...Object.entries(NEW).map(([name, bytes]): [string, string] => [
        `new/${name}`,
        Buffer.from(bytes).toString("latin1"),
      ]),
    ]);
    const step = Math.max(1, calls.length / limit);
    // The last call, too: by then the new entry is there.
    const cuts = calls.filter(
      (_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step) || index === calls.length - 1,
    );
    let stopped = 0;
    let withEntry = 0;
    for (const { name, count, args: printed } of cuts) {
      const where = `killed before ${name} number ${count} (recorded as ${printed.slice(0, 200)})`;
      const place = join(folder, "cut");
      cpSync(start, place, { recursive: true, verbatimSymlinks: true });
      if (await runUntil({ name, count, threads: "main" }, args(place))) {
        stopped++;
        const left = files(place);
        for (const [path, text] of Object.entries(OLD)) expect(left[`boot/${path}`], where).toBe(text);
        const entry = left["boot/loader/entries/new.conf"];
        if (entry !== undefined) {
          withEntry++;
          const named = [...entry.matchAll(/^(?:linux|initrd) \/(.*)$/gm)].map(([, file = ""]) => file);
          expect(named.length, where).toBe(2);
          for (const file of named) expect(left[`boot/${file}`] === bodies.get(file), `${where}: ${file}`).toBe(true);
          const id = /^options composefs\.digest=\?v1-sha512-12:(\w+) rw$/m.exec(entry)?.[1] ?? "";
          expect(existsSync(join(place, "repository/images", id)), where).toBe(true);
          for (const directory of ["var", "etc/upper", "etc/work"])
            expect(left[`state/deploy/${id}/${directory}`], where).toBe("directory");
        }
        await expectSound(join(place, "repository"), where);
      }
      {
        await using repository = await Repository.open(join(place, "repository"), { write: true });
        await prepareBoot(repository, "t", {
          bootDirectory: join(place, "boot"),
          entryId: "new",
          kernelArguments: ["rw"],
        });
      }
      expect(files(place), where).toEqual(goal);
      rmSync(place, { recursive: true });
    }
    console.log(`${stopped} cuts, ${withEntry} of them with the new entry`);
    expect(stopped).toBeGreaterThanOrEqual(Math.floor(0.9 * cuts.length));
    expect(withEntry).toBeGreaterThan(0);
  });
});
