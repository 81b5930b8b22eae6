// Random lives of a sysroot against a simple model: pulls, installations, updates, rollbacks, deletions, collections, reboots, files of
// others, and losses of power at any moment. After every step status is what the model says, `check` finds no error, and nothing that is
// not ours has changed.
//
// COMPOSEFS_MODEL_RUNS=1000 COMPOSEFS_MODEL_SEED=7 npx vitest run --project unit test/deploy/model.test.ts

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pull } from "../../src/oci/pull.ts";
import { Repository } from "../../src/repository/repository.ts";
import { bootLayout } from "../fixtures/boot-layouts.ts";
import { writeLayout } from "../fixtures/layout.ts";
import { tar } from "../fixtures/tar.ts";
import { Model, type Outcome, type Variant } from "./model/model.ts";
import { withPowerCut } from "../fixtures/power.mjs";
import { World } from "./model/world.ts";

const RUNS = Number(process.env["COMPOSEFS_MODEL_RUNS"] ?? 5);
const SEED = Number(
  process.env["COMPOSEFS_MODEL_SEED"] ?? (process.env["COMPOSEFS_MODEL_RUNS"] ? Date.now() % 2 ** 31 : 1),
);
const REFERENCES = ["stable", "testing", "other"] as const;
/** More calls than any command needs that changes something. */
const MOST_CALLS = 200;
const VERSIONS = ["1", "2", "2", "10", "9"] as const;

interface Published extends Variant {
  readonly layout: string;
}

let work: string;
/** For each image two manifests. */
const images: Published[][] = [];
const apps: { layout: string; manifest: string }[] = [];

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "composefs-model-"));
  const path = join(work, "scratch");
  await Repository.init(path, { insecure: true });
  await using repository = await Repository.open(path, { write: true, durability: "none" });
  for (const [index, version] of VERSIONS.entries()) {
    const layouts: Published[] = [];
    for (const compression of ["none", "gzip"] as const) {
      const layout = join(work, `image-${index}-${compression}`);
      writeLayout(layout, "v1", [{ tar: imageTar(index, version), compression }]);
      const { manifestDigest, bootImages } = await pull(repository, `oci:${layout}`, { tag: "x", bootable: true });
      layouts.push({ id: bootImages[0]?.id ?? "", manifest: manifestDigest, layout });
    }
    images.push(layouts);
  }
  for (const index of [0, 1]) {
    const layout = join(work, `app-${index}`);
    const files = { "usr/bin/app": Buffer.alloc(3000, `app ${index}`), "usr/shared": Buffer.alloc(3000, "shared") };
    apps.push({ layout, manifest: bootLayout(layout, "v1", files).manifestDigest });
  }
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

// Two images share each kernel; all have one file that apps have, too.
function imageTar(index: number, version: string): Buffer {
  const kernel = `usr/lib/modules/6.${index >> 1}`;
  const directories = ["boot", "etc", "sysroot", "usr", "usr/lib", "usr/lib/modules", kernel, "var"];
  const files: Record<string, string | Buffer> = {
    [`${kernel}/vmlinuz`]: `kernel ${index >> 1}`,
    [`${kernel}/initramfs.img`]: `initramfs ${index >> 1}`,
    "usr/lib/os-release": `ID=example\nPRETTY_NAME=Example\nVERSION_ID=${version}\n`,
    "usr/shared": Buffer.alloc(3000, "shared"),
    "etc/of-image": `image ${index}`,
    "etc/edited": `image ${index}`,
  };
  return tar([
    ...directories.map((path) => ({ path: `${path}/`, type: "directory" as const })),
    ...Object.entries(files).map(([path, content]) => ({ path, content: Buffer.from(content) })),
  ]);
}

type Step =
  | { readonly op: "install" | "rollback" | "delete" | "app" | "foreign" | "edit"; readonly n: number }
  | { readonly op: "switch" | "publish" | "upgrade" | "fetch"; readonly n: number; readonly image: number }
  | { readonly op: "gc" | "boot" | "from-downloaded" }
  | { readonly op: "reboot"; readonly finalizes: boolean }
  | { readonly op: "cut"; readonly after: number; readonly step: Step };

// Without the preference for small numbers, which would be that for the first image.
const n = fc.noBias(fc.nat(29));
const weighted = (...steps: [weight: number, arbitrary: fc.Arbitrary<Step>][]): fc.Arbitrary<Step> =>
  fc.oneof(...steps.map(([weight, arbitrary]) => ({ weight, arbitrary })));
const is = <Op extends Step["op"]>(op: Op) => ({ op: fc.constant(op) });
const calls = fc.oneof(fc.noBias(fc.nat(30)), fc.noBias(fc.nat(MOST_CALLS)));
const changing = weighted(
  [6, fc.record({ ...is("upgrade"), n, image: n })],
  [4, fc.record({ ...is("switch"), n, image: n })],
  [3, fc.record({ ...is("rollback"), n })],
  [2, fc.record({ ...is("delete"), n })],
  [1, fc.record({ ...is("install"), n })],
  [4, fc.record({ ...is("reboot"), finalizes: fc.constant(true) })],
  [1, fc.record(is("gc"))],
);
const step = weighted(
  [14, changing],
  [2, fc.record({ ...is("publish"), n, image: n })],
  [2, fc.record({ ...is("fetch"), n, image: n })],
  [1, fc.record(is("from-downloaded"))],
  [1, fc.record({ ...is("app"), n })],
  [2, fc.record({ ...is("foreign"), n })],
  [2, fc.record({ ...is("edit"), n })],
  [1, fc.record(is("boot"))],
  [1, fc.record({ ...is("reboot"), finalizes: fc.boolean() })],
  [5, fc.record({ ...is("cut"), after: calls, step: changing })],
);

class Life {
  readonly model: Model = new Model();
  readonly world: World;
  #edits = 0;

  constructor(root: string, bootloader: "grub" | "systemd") {
    this.world = new World(root, bootloader);
    for (const [index, name] of REFERENCES.entries()) {
      const found = variant({ image: index });
      this.model.published.set(name, found);
      this.world.publish(name, found.layout);
    }
  }

  async run(one: Step): Promise<void> {
    if (one.op === "upgrade" || one.op === "fetch") this.#publishNewer(one);
    if (one.op === "cut") {
      if (one.step.op === "upgrade") this.#publishNewer(one.step);
      await this.#cut(one.after, one.step);
    } else {
      const wanted = this.#predict(this.model, one);
      expect(await this.#act(one, this.model.booted), JSON.stringify(one)).toBe(wanted?.outcome ?? "");
      wanted?.apply();
    }
    await this.world.checkInvariants(this.model.booted);
    await this.world.compare(this.model);
    if (one.op === "gc") expect(new Set(this.world.states())).toEqual(new Set(this.model.deployments.keys()));
  }

  // Mostly there is something new under the reference that is followed.
  #publishNewer(one: { readonly image: number }): void {
    const followed = this.model.followed;
    if (followed === undefined || one.image % 4 === 0) return;
    this.model.published.set(followed, variant(one));
    this.world.publish(followed, variant(one).layout);
  }

  // What the model says, and how it becomes that; the paths of the world are still those of before.
  #predict(model: Model, one: Step): { outcome: Outcome; apply: () => void } | undefined {
    const next = model.copy();
    const outcome = this.#model(next, one);
    return { outcome, apply: () => this.#become(next) };
  }

  #become(next: Model): void {
    const { model } = this;
    Object.assign(model, { booted: next.booted, menu: next.menu, staged: next.staged });
    for (const key of ["deployments", "published", "apps"] as const) {
      const [to, from] = [model[key], next[key]] as [Map<string, unknown>, Map<string, unknown>];
      to.clear();
      for (const [name, value] of from) to.set(name, value);
    }
  }

  #model(model: Model, one: Step): Outcome {
    switch (one.op) {
      case "install":
        return model.booted === undefined ? model.install(reference(one.n)) : "";
      case "upgrade":
      case "fetch":
        return this.#exists ? model.upgrade(one.op === "fetch" && model.booted !== undefined) : "";
      case "from-downloaded":
        return this.#exists && model.booted !== undefined ? model.fromDownloaded() : "";
      case "switch":
        return this.#exists ? model.switchTo(reference(one.n), one.image % 2 === 0) : "";
      case "rollback":
        return this.#exists ? model.rollback(this.#id(one.n)) : "";
      case "delete":
        return this.#exists ? model.delete(this.#id(one.n)) : "";
      case "gc":
        return this.#exists ? model.gc() : "";
      case "reboot":
        if (model.booted !== undefined) model.reboot(one.finalizes);
        return "";
      case "boot":
        model.booted ??= model.menu[0];
        return "";
      case "publish":
        model.published.set(reference(one.n), variant(one));
        return "";
      case "edit":
        if (this.model.base !== undefined) model.edit(editName(one.n), `edit ${this.#edits + 1}`);
        return "";
      case "app": {
        if (!this.#exists) return "";
        const tag = `app:${one.n % 3}`;
        if (!model.apps.delete(tag)) model.apps.set(tag, apps[one.n % apps.length]?.manifest ?? "");
        return "";
      }
      default:
        return "";
    }
  }

  async #act(one: Step, booted: string | undefined): Promise<Outcome> {
    const { world, model } = this;
    const exists = this.#exists;
    switch (one.op) {
      case "install":
        return booted === undefined ? world.install(reference(one.n)) : "";
      case "upgrade":
      case "fetch":
        return exists ? world.upgrade(booted, { downloadOnly: one.op === "fetch" && booted !== undefined }) : "";
      case "from-downloaded":
        return exists && booted !== undefined ? world.upgrade(booted, { fromDownloaded: true }) : "";
      case "switch":
        return exists ? world.switchTo(booted, reference(one.n), one.image % 2 === 0) : "";
      case "rollback":
        return exists ? world.rollback(booted, this.#id(one.n)) : "";
      case "delete":
        return exists ? world.delete(booted, this.#id(one.n)) : "";
      case "gc":
        return exists ? world.gc(booted) : "";
      case "reboot":
        if (booted === undefined) return "";
        if (one.finalizes) await world.finalize(booted);
        world.clearRun();
        return "";
      case "publish":
        world.publish(reference(one.n), variant(one).layout);
        return "";
      case "edit":
        if (model.base !== undefined) world.edit(model.base, editName(one.n), `edit ${++this.#edits}`);
        return "";
      case "app": {
        if (!exists) return "";
        const tag = `app:${one.n % 3}`;
        if (model.apps.has(tag)) await world.untagApp(tag);
        else await world.pullApp(apps[one.n % apps.length]?.layout ?? "", tag);
        return "";
      }
      case "foreign":
        world.foreign(one.n, `version ${one.n}\nlinux /other\noptions ${++this.#edits}\n`);
        return "";
      default:
        return "";
    }
  }

  // Whatever was done when the power went: the old menu or the new one boots, or both; what boots is complete.
  async #cut(after: number, one: Step): Promise<void> {
    const { world, model } = this;
    const old = model.copy();
    const wanted = this.#predict(model, one);
    const wasCut = await withPowerCut(after, () => this.#act(one, old.booted));
    wanted?.apply();
    if (!wasCut) return;
    if (old.booted !== undefined) world.clearRun();
    const next = model.copy();
    await this.#settle(old, next, one.op);
    if (old.booted === undefined) {
      // The same command again finishes the work.
      await this.#act(one, undefined);
      await this.#settle(old, next, one.op);
    }
  }

  // The model takes over what is on the disk, as far as that can be.
  async #settle(old: Model, next: Model, what: string): Promise<void> {
    const { world, model } = this;
    const menu = await world.menu();
    const possible = new Set([...old.menu, ...next.menu]);
    const certain = old.menu.filter((id) => next.menu.includes(id));
    expect(
      menu.filter((id) => !possible.has(id)),
      what,
    ).toEqual([]);
    expect(
      certain.filter((id) => !menu.includes(id)),
      what,
    ).toEqual([]);
    if (old.menu.length > 0) expect([old.menu[0], next.menu[0]], what).toContain(menu[0]);
    model.menu = menu;
    model.staged = undefined;
    model.booted = old.booted === undefined ? undefined : menu[0];
    await world.checkInvariants(model.booted);
    const found = await world.deployments(model.booted);
    model.deployments.clear();
    for (const id of world.states()) {
      const [before, after] = [old.deployments.get(id), next.deployments.get(id)];
      const isOld = old.menu.includes(id) && before !== undefined;
      const etc = (isOld ? before : after)?.etc ?? new Map<string, string>();
      const read = found.get(id);
      if (read) {
        const known = [before, after].map((each) => each && `${each.reference} ${each.manifest}`);
        expect(known, what).toContain(`${read.reference} ${read.manifest}`);
      }
      model.deployments.set(id, { reference: "", manifest: "", ...read, etc });
    }
    await world.compare(model);
  }

  // Nothing but an installation makes a repository.
  get #exists(): boolean {
    return this.world.isInstalled;
  }

  #id(number: number): string {
    const all = images.map(([image]) => image?.id ?? "");
    // Mostly such as are in the menu.
    const candidates = [...this.model.menu, ...this.model.menu, ...all];
    return candidates[number % candidates.length] ?? "";
  }
}

const reference = (number: number) => REFERENCES[number % REFERENCES.length] ?? "";
const variant = ({ image }: { readonly image: number }) =>
  images[image % images.length]?.[Math.floor(image / images.length) % 2] as Published;
const editName = (number: number) => (number % 4 === 0 ? "edited" : `local-${number % 3}`);

test(`random lives of a sysroot (${RUNS}, seed ${SEED})`, { timeout: RUNS * 60_000 }, async () => {
  let count = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("grub", "systemd"),
      fc.constantFrom(true, true, false),
      fc.array(step, { minLength: 10, maxLength: 20, size: "max" }),
      async (bootloader, boots, steps) => {
        const root = join(work, `life-${count++}`);
        try {
          const life = new Life(root, bootloader);
          await life.run({ op: "install", n: 0 });
          if (boots) await life.run({ op: "boot" });
          for (const one of steps) await life.run(one);
        } finally {
          rmSync(root, { recursive: true, force: true });
        }
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
});
