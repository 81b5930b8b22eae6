// Decisions of upgrade, switch, rollback and delete, and the menus that a rollback writes, against the goldens.

import { describe, expect, test } from "vitest";
import { compareBytes } from "../../src/bytes/byte-string.ts";
import { parseBootEntry, writeBootEntry } from "../../src/boot/entry/bls.ts";
import { classifyEntry, planActivation, savedName } from "../../src/boot/entry/menu.ts";
import { type NamedEntry, nameEntrySet } from "../../src/boot/entry/names.ts";
import type { BootLoader } from "../../src/boot/entry/order.ts";
import { planDelete } from "../../src/deploy/delete.ts";
import type { HostImage } from "../../src/deploy/image-reference.ts";
import { planRollback, writeMenu } from "../../src/deploy/rollback.ts";
import { type NamedText } from "../../src/deploy/state.ts";
import {
  baseDeployment,
  decideSwitch,
  decideUpgrade,
  updateSource,
  type UpdateTarget,
} from "../../src/deploy/update.ts";
import { ComposefsError } from "../../src/error.ts";
import { type DeployCase, deployCases } from "./deploy-goldens.ts";
import { type GoldenState, sysrootState } from "./golden-state.ts";

interface Input {
  readonly state: GoldenState;
  readonly id?: string;
  readonly to?: string;
  readonly flags?: string[];
  readonly target?: UpdateTarget;
  readonly spec?: HostImage | null;
  readonly base?: string;
}

function outcome<T>(call: () => T): T | { error: string | undefined; slot?: string } {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    expect(error.hint).toBeDefined();
    return { error: error.reason, ...(error.slot === undefined ? {} : { slot: error.slot }) };
  }
}

const KNOWN_FLAGS = new Set(["check", "from-downloaded", "download-only", "in-place"]);

test.each(deployCases<Input>("decisions"))("golden: $name", ({ op, input, expect: expected }) => {
  const state = sysrootState(input.state);
  const { flags = [], base } = input;
  expect(flags.filter((flag) => !KNOWN_FLAGS.has(flag))).toEqual([]);
  const target = input.target as UpdateTarget;
  const result = outcome(() => {
    switch (op) {
      case "delete": {
        const { id: _, removeActiveEntries, ...plan } = planDelete(state, input.id as string);
        return { ...plan, removeActiveEntries: removeActiveEntries.length };
      }
      case "rollback": {
        const { menu: _, ...plan } = planRollback(state, input.to);
        return plan;
      }
      case "upgrade":
        return decideUpgrade(state, target, {
          check: flags.includes("check"),
          fromDownloaded: flags.includes("from-downloaded"),
          downloadOnly: flags.includes("download-only"),
          base,
        });
      case "switch":
        return decideSwitch(state, input.spec as HostImage, target, { inPlace: flags.includes("in-place"), base });
      default:
        throw new Error(`unknown operation ${op}`);
    }
  });
  expect(result).toEqual(expected);
});

interface WriteInput {
  readonly bootloader: BootLoader;
  readonly osId: string;
  readonly entries: string[];
}

describe("goldens of entry sets", () => {
  const cases = deployCases<WriteInput | Input>("entryset");
  test.each(cases.filter(({ op }) => op === "write"))("$name", ({ input, expect: expected }) => {
    const { bootloader, osId, entries } = input as WriteInput;
    const set = nameEntrySet(
      bootloader,
      osId,
      entries.map((text) => parseBootEntry(text)),
    );
    expect({ files: set.map(({ name, entry }) => [name, writeBootEntry(entry)]) }).toEqual(expected);
  });

  test.each(cases.filter(({ op }) => op === "rollback"))("$name", ({ input, expect: expected }) => {
    const { state, to } = input as Input;
    const { menu } = planRollback(sysrootState(state), to);
    const files = (entries: readonly NamedEntry[]) => entries.map(({ name, entry }) => [name, writeBootEntry(entry)]);
    expect(menu.kind === "entries" ? { files: files(menu.entries) } : menu).toEqual(expected);
  });

  interface Sets {
    readonly active: NamedText[];
    readonly staged: NamedText[];
  }
  const activations = cases as unknown as DeployCase<Sets, unknown>[];
  test.each(activations.filter(({ op }) => op === "activate"))("$name", ({ input, expect: expected }) => {
    const files = (set: NamedText[]) => set.map(([name, text]) => ({ name, text }));
    const staged = files(input.staged).map((file) => {
      const found = classifyEntry(file);
      if (found.kind !== "deployment") throw new Error(`${file.name} is for no deployment`);
      return found;
    });
    const plan = planActivation(files(input.active), staged);
    const after = new Map(input.active);
    const texts = new Map(input.staged);
    for (const name of plan.save) after.set(savedName(name), after.get(name) as string);
    for (const name of [...plan.write, plan.primary]) after.set(name, texts.get(name) as string);
    for (const name of plan.unlink) after.delete(name);
    expect({ ...plan, after: [...after].sort(([a], [b]) => compareBytes(a, b)) }).toEqual(expected);
  });

  test("every operation has its suite", () => {
    expect(new Set(cases.map(({ op }) => op))).toEqual(new Set(["activate", "rollback", "write"]));
  });
});

const A = "a".repeat(8);
const B = "b".repeat(8);
const manifest = `sha256:${"1".repeat(64)}`;
const entry = (id: string, sortKey: string): string =>
  `title T\nversion 1\nlinux /x/bootc_composefs-${id}/k\noptions composefs=${id}\nsort-key ${sortKey}\n`;
const origin = `[origin]\ncontainer-image-reference = ostree-unverified-registry:q.x/os:1\n[image]\nmanifest_digest = ${manifest}\n`;
const entries: NamedText[] = [
  ["a.conf", entry(A, "bootc-o-0")],
  ["b.conf", entry(B, "bootc-o-1")],
];
const offline = {
  bootloader: "systemd",
  missingVerityAllowed: false,
  boot: { entries },
  state: new Map([A, B].map((id) => [id, { origin }])),
  images: new Map(),
} as const;

test("an image that was not pulled yet is pulled before more is decided", () => {
  const target = { manifest: `sha256:${"2".repeat(64)}` };
  expect(decideUpgrade(offline, target)).toEqual({ action: "pull" });
  expect(decideUpgrade(offline, { manifest })).toEqual({ action: "none", reason: "booted" });
  expect(decideSwitch(offline, { image: "q.x/other", transport: "registry" }, target)).toEqual({ action: "pull" });
});

test("the image to follow is that of the base, with another tag if wanted", () => {
  expect(updateSource(offline, { tag: "2" })).toEqual({ image: "q.x/os:2", transport: "registry" });
  expect(updateSource(offline)).toEqual({ image: "q.x/os:1", transport: "registry" });
  expect(baseDeployment(offline)?.id).toBe(A);
  expect(baseDeployment(offline, { base: B })?.id).toBe(B);
  expect(baseDeployment(offline, { base: null })).toBeUndefined();
  expect(outcome(() => updateSource(offline, { base: null }))).toEqual({ error: "E_NO_IMAGE_SOURCE" });
  expect(outcome(() => updateSource(offline, { base: "c" }))).toEqual({ error: "E_DEPLOYMENT_NOT_FOUND" });
});

test("the last deployment goes by force only", () => {
  const single = { ...offline, boot: { entries: [entries[0] as NamedText] } };
  expect(outcome(() => planDelete(single, A))).toEqual({ error: "E_DELETE_LAST" });
  expect(planDelete(single, A, true).removeActiveEntries).toEqual(["a.conf"]);
  // B has a state directory only, which keeps nothing from booting.
  expect(planDelete(single, B).removeActiveEntries).toEqual([]);
});

test("a rollback of user.cfg writes its entries in the other order", () => {
  const text = (id: string) =>
    `menuentry "T: (${id})" {\ninsmod fat\nsearch x\nchainloader /EFI/Linux/bootc/bootc_composefs-${id}.efi\n}\n`;
  const state = { ...offline, bootloader: "grub", boot: { entries, userCfg: text(A) + text(B) } } as const;
  const { menu, order } = planRollback(state, B);
  expect(order).toEqual([B, A]);
  if (menu.kind !== "user.cfg") throw new Error("no user.cfg");
  expect(menu.text.endsWith(text(B) + text(A))).toBe(true);
  expect(writeMenu("grub", [])).toEqual({ kind: "entries", entries: [] });
});
