// Every error code of the specification (docs/spec/deployments.md, section 9) can be reached, says what it is about, and is exit status 1.
// The table is compared with the text of the specification and with the source, so that neither has a code of its own.

import fs, { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { parseBootEntry } from "../../src/boot/entry/bls.ts";
import { describeFailure } from "../../src/cli/failure.ts";
import { bootedDeployment, bootloaderOf } from "../../src/deploy/booted.ts";
import { rollBack } from "../../src/deploy/carry-out-rollback.ts";
import { assertCollected, deployGc, deployGcDryRun } from "../../src/deploy/collect.ts";
import { deleteDeployment } from "../../src/deploy/delete-deployment.ts";
import { checkBootTexts } from "../../src/deploy/disk/boot-texts.ts";
import { startFinalizeService } from "../../src/deploy/finalize-service.ts";
import { parseImginfo } from "../../src/deploy/image-info.ts";
import { canonicalImageName } from "../../src/deploy/image-name.ts";
import { type HostImage, parseHostImage, parseSwitchTarget, pullReference } from "../../src/deploy/image-reference.ts";
import { installDeployment } from "../../src/deploy/install.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { entryErrorCode } from "../../src/deploy/menu-entry.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { parseOrigin, withOriginEntries } from "../../src/deploy/origin.ts";
import { parseStagedMarker } from "../../src/deploy/staged-marker.ts";
import { switchDeployment } from "../../src/deploy/switch.ts";
import { upgradeDeployment } from "../../src/deploy/upgrade.ts";
import { ComposefsError } from "../../src/error.ts";
import { pull } from "../../src/oci/pull.ts";
import { openImage, openManifest } from "../../src/oci/stored-image.ts";
import { writeStreamAround } from "../../src/oci/streams.ts";
import { Repository } from "../../src/repository/repository.ts";
import { syscalls } from "../../src/runtime/syscalls.ts";
import { type HostImageParts, hostLayout } from "./host-images.ts";

let work: string;
let whole: string;
let root: string;
let paths: SysrootPaths & { readonly sysroot: string };
let first: string;
let second: string;
let manifest: string;
let count = 0;

const image = (name: string): HostImage => ({ transport: "oci", image: join(work, name) });
const layout = (name: string, parts: Partial<HostImageParts> = {}) =>
  hostLayout(join(work, name), { version: "1", ...parts });

// Two deployments, the newer one first.
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), "composefs-codes-"));
  whole = join(work, "whole");
  mkdirSync(whole);
  const options = { verity: "allow-missing", allowExisting: true } as const;
  const place: SysrootPaths = { sysroot: whole, bootloader: "grub" };
  layout("one");
  manifest = layout("two", { version: "2", kernel: "l" });
  second = (await installDeployment(place, image("one"), options)).id ?? "";
  first = (await installDeployment(place, image("two"), options)).id ?? "";
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

beforeEach(() => {
  root = join(work, String(count++));
  cpSync(whole, root, { recursive: true, verbatimSymlinks: true });
  paths = { sysroot: root, bootloader: "grub" };
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  syncBuiltinESMExports();
});

const at = (path: string) => join(root, path);
const running = (id = first): SysrootPaths => {
  mkdirSync(at("run"), { recursive: true });
  return { ...paths, bootedId: id, runDirectory: at("run") };
};

async function opened<T>(use: (sysroot: OpenSysroot) => Promise<T>, where: SysrootPaths = paths): Promise<T> {
  await using sysroot = await OpenSysroot.open(locateSysroot(where), { lock: { timeoutMs: 0 } });
  return await use(sysroot);
}

const install = (name: string, where: SysrootPaths = paths) =>
  installDeployment(where, image(name), { verity: "allow-missing", allowExisting: true });

// The machine refuses a call.
function refuse(name: "accessSync" | "statfsSync", call: () => unknown): void {
  vi.spyOn(fs, name).mockImplementation(call);
  syncBuiltinESMExports();
}

const noEntries = () => rmSync(at("boot/loader/entries"), { recursive: true });
const machine = () => ({ root: at("machine"), environment: {} });

function writeMachine(files: Record<string, string>): void {
  mkdirSync(at("machine/proc/self"), { recursive: true });
  mkdirSync(at("machine/sysroot"), { recursive: true });
  for (const [path, text] of Object.entries(files)) writeFileSync(at(`machine/${path}`), text);
}

// A document of the repository is another one than its name says, and every object is what it should be.
async function exchange(stream: string, type: "ocimanif" | "ociconfg"): Promise<Repository> {
  const repository = await Repository.open(at("composefs"), { write: true });
  const { namedRefs } = await repository.openStream(repository.stream(stream) ?? "");
  const { id: body } = await repository.putObject(Buffer.from("{}"));
  repository.linkStream(stream, await writeStreamAround(repository, body, 2, type, [...namedRefs]));
  return repository;
}

/** How each code comes about, and what its message names besides; `ID` is the first deployment, `ROOT` the sysroot. */
const TABLE: readonly (readonly [code: string, names: string, cause: () => unknown])[] = [
  [
    "E_NOT_BOOTED",
    "not booted from a deployment",
    () => {
      writeMachine({ "proc/cmdline": "rw", "proc/self/mountinfo": "" });
      locateSysroot({ machine: machine() });
    },
  ],
  [
    "E_ROOT_NOT_COMPOSEFS",
    '"/dev/sda1"',
    () =>
      bootedDeployment(`composefs=${first}`, [{ mountPoint: "/", type: "ext4", source: "/dev/sda1", readOnly: false }]),
  ],
  [
    "E_CONTAINER",
    "container",
    () => locateSysroot({ machine: { root: at("machine"), environment: { container: "oci" } } }),
  ],
  ["E_BOOTED_NOT_FOUND", "nobody", () => opened((open) => deployGc(open), running("nobody"))],
  ["E_BOOTLOADER_UNKNOWN", "LoaderInfo", () => bootloaderOf(Buffer.alloc(3))],
  ["E_NO_ESP", "ESP", () => locateSysroot({ sysroot: root, bootloader: "systemd" })],
  [
    "E_GRUB_CFG",
    "user.cfg",
    () => {
      mkdirSync(at("boot/grub2"));
      writeFileSync(at("boot/grub2/user.cfg"), "menuentry {");
      return opened((open) => deployGc(open));
    },
  ],
  [
    "E_READ_ONLY",
    "ROOT",
    () => {
      refuse("accessSync", () => {
        throw Object.assign(new Error("read-only"), { code: "EROFS" });
      });
      return opened(async () => undefined);
    },
  ],
  [
    "E_NO_SPACE",
    "ROOT/composefs",
    () => {
      layout("large", { version: "3" });
      refuse("statfsSync", () => ({ bavail: 0, bsize: 4096 }));
      return install("large");
    },
  ],
  ["E_LOCKED", "ROOT", () => opened(() => opened(async () => undefined))],
  [
    "E_LOCK_UNAVAILABLE",
    "no locks",
    () => {
      vi.spyOn(syscalls(), "flock").mockRejectedValue(new ComposefsError("unsupported", "this machine has no locks"));
      return opened(async () => undefined);
    },
  ],
  ["E_ORIGIN_SECTION", "FILE, line 1", () => parseOrigin("[a", "FILE")],
  ["E_ORIGIN_SYNTAX", "FILE, line 2", () => parseOrigin("[a]\nb", "FILE")],
  ["E_ORIGIN_EMPTY_KEY", "FILE, line 1", () => parseOrigin("=b", "FILE")],
  ["E_ORIGIN_VALUE", '"a#b"', () => withOriginEntries(new Map(), [["s", "k", "a#b"]])],
  ["E_IMGREF_NO_COLON", '"x"', () => parseHostImage("x")],
  ["E_IMGREF_SCHEME", '"x:y"', () => parseHostImage("x:y")],
  ["E_IMGREF_TRANSPORT", '"y"', () => parseHostImage("ostree-unverified-image:y:z")],
  ["E_IMGREF_DOCKER_SLASHES", "docker:", () => parseHostImage("ostree-unverified-image:docker:z")],
  ["E_IMGREF_EMPTY_NAME", "names no image", () => parseHostImage("ostree-unverified-registry:")],
  ["E_IMGREF_NESTED_TRANSPORT", '"docker://x"', () => parseSwitchTarget("docker://x")],
  ["E_REFERENCE_SYNTAX", '"UPPER"', () => canonicalImageName("UPPER")],
  ["E_STAGED_FILE", "FILE", () => parseStagedMarker("{}", "FILE")],
  ["E_IMGINFO", "FILE", () => parseImginfo("{}", "FILE")],
  ["E_BLS_NO_VERSION", "FILE", () => entryError("title x\n")],
  ["E_BLS_BOTH", "FILE", () => entryError("version 1\nlinux /a\nefi /b\n")],
  ["E_BLS_NO_PAYLOAD", "FILE", () => entryError("version 1\n")],
  [
    "E_MANIFEST_INTEGRITY",
    "MANIFEST",
    async () => {
      await using repository = await exchange(`oci-manifest-${manifest}`, "ocimanif");
      await openManifest(repository, manifest, manifest);
    },
  ],
  [
    "E_CONFIG_INTEGRITY",
    "config sha256:",
    async () => {
      const config = await opened(
        async ({ repository }) => (await openManifest(repository, manifest, manifest)).config,
      );
      await using repository = await exchange(`oci-config-${config.digest}`, "ociconfg");
      // The manifest names its config by the object.
      await openImage(repository, `@${config.digest}`);
    },
  ],
  ["E_ALREADY_INSTALLED", "ID", () => installDeployment(paths, image("one"), {})],
  [
    "E_NO_BOOT_ENTRIES",
    "kernel",
    () => {
      layout("bootless", { bootless: true, version: "4" });
      return install("bootless");
    },
  ],
  [
    "E_UKI_DIGEST",
    "0000",
    () => {
      layout("wrong", { uki: `composefs=${"0".repeat(128)}`, version: "5" });
      mkdirSync(at("esp"));
      noEntries();
      return install("wrong", { ...paths, esp: at("esp") });
    },
  ],
  [
    "E_KARGS_FILE",
    "10.toml",
    () => {
      layout("kargs", { kargs: "x = 1", version: "6" });
      return install("kargs");
    },
  ],
  ["E_NO_STAGED", "staged", () => opened((open) => upgradeDeployment(open, { fromDownloaded: true }), running())],
  [
    "E_NO_IMAGE_SOURCE",
    "ID",
    () => {
      writeFileSync(at(`state/deploy/${first}/${first}.origin`), "[boot]\nboot_type = bls\n");
      return opened((open) => upgradeDeployment(open));
    },
  ],
  ["E_SAME_DEPLOYMENT", "SECOND", () => opened((open) => switchDeployment(open, image("one")))],
  [
    "E_ETC_CONFLICT",
    "version.conf",
    () => {
      layout("conflict", { version: "7", etc: {}, more: [{ path: "etc/version.conf/", type: "directory" }] });
      writeFileSync(at(`state/deploy/${first}/etc/version.conf`), "changed");
      return opened((open) => switchDeployment(open, image("conflict")));
    },
  ],
  [
    "E_FINALIZE_SERVICE",
    "bootc-finalize-staged.service",
    () => {
      // No systemd, whatever this machine has.
      vi.stubEnv("PATH", at("nothing"));
      startFinalizeService();
    },
  ],
  [
    "E_NO_ROLLBACK",
    "roll back",
    async () => {
      await opened((open) => deleteDeployment(open, second), running());
      await opened((open) => rollBack(open), running());
    },
  ],
  ["E_DELETE_BOOTED", "ID", () => opened((open) => deleteDeployment(open, first), running())],
  [
    "E_DELETE_LAST",
    "ID",
    async () => {
      await opened((open) => deleteDeployment(open, second));
      await opened((open) => deleteDeployment(open, first));
    },
  ],
  ["E_DEPLOYMENT_NOT_FOUND", '"nobody"', () => opened((open) => deleteDeployment(open, "nobody"))],
  [
    "E_GC_BOOTED_BINARIES",
    "bootc_composefs-ID",
    async () => {
      const [entry = ""] = readdirSync(at("boot/loader/entries"))
        .map((name) => at(`boot/loader/entries/${name}`))
        .filter((path) => readFileSync(path, "utf8").includes(first));
      const other = `bootc_composefs-${second}/`;
      writeFileSync(entry, readFileSync(entry, "utf8").replaceAll(`bootc_composefs-${first}/`, other));
      await opened((open) => deployGc(open), running());
    },
  ],
  ["E_INSECURE_ENTRY", "FILE", () => checkBootTexts([{ path: "FILE", text: `options composefs=?${first}` }], true)],
  ["E_STRICT_ENTRY", "FILE", () => checkBootTexts([{ path: "FILE", text: `options composefs=${first}` }], false)],
  [
    "E_ZERO_COPY",
    "the layers of oci",
    () =>
      opened(({ repository }) => pull(repository, pullReference(image("one")), { tag: "x", localFetch: "zerocopy" })),
  ],
  [
    "E_GC_NO_ENTRIES",
    "no boot entry",
    () => {
      noEntries();
      return opened((open) => deployGc(open));
    },
  ],
  [
    "E_GC_NOT_CLEAN",
    "ROOT",
    async () => {
      mkdirSync(at("state/deploy/orphan"));
      await using repository = await Repository.open(at("composefs"), {});
      assertCollected(await deployGcDryRun(locateSysroot(paths), repository), root);
    },
  ],
];

function entryError(text: string): never {
  try {
    parseBootEntry(text, "FILE");
  } catch (error) {
    throw new ComposefsError("invalid", (error as Error).message, { reason: entryErrorCode(error) });
  }
  throw new Error("it parses");
}

/** What only a machine with a fault of its own shows; modules of Deno and Bun keep the calls that they were given. */
const REFUSED_CALLS: ReadonlySet<string> = new Set(["E_READ_ONLY", "E_NO_SPACE"]);

const isNode = process.versions["deno"] === undefined && process.versions["bun"] === undefined;
const here = TABLE.filter(([code]) => isNode || !REFUSED_CALLS.has(code));

test.each(here)("%s", async (code, names, cause) => {
  let found: unknown;
  try {
    await cause();
  } catch (error) {
    found = error;
  }
  expect(found).toBeInstanceOf(ComposefsError);
  const failure = describeFailure(found);
  expect(failure).toMatchObject({ reason: code, status: 1 });
  const named = names
    .replace("SECOND", second)
    .replace("MANIFEST", manifest)
    .replace("ID", first)
    .replace("ROOT", root);
  expect(failure.message).toContain(named);
  expect(failure.message).not.toContain("\n");
});

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

test("the specification, the source and this table have the same codes", () => {
  const text = readFileSync(file("docs/spec/deployments.md"), "utf8");
  const section = text.slice(text.indexOf("\n## 9. "), text.indexOf("\nWarnings (objects"));
  const specified = section
    .split("\n")
    .filter((line) => line.startsWith("| E_"))
    .flatMap((line) => {
      const names = (line.split("|")[1] ?? "").match(/\bE_[A-Z_]+|(?<![A-Z])_[A-Z_]+/g) ?? [];
      const prefix = names[0]?.split("_").slice(0, 2).join("_") ?? "";
      return names.map((name) => (name.startsWith("_") ? prefix + name : name));
    });
  expect(specified.length).toBeGreaterThan(40);
  const inSource = new Set<string>();
  for (const name of readdirSync(file("src"), { recursive: true, encoding: "utf8" }))
    if (name.endsWith(".ts"))
      for (const [, code = ""] of readFileSync(file(`src/${name}`), "utf8").matchAll(/"(E_[A-Z_]+)"/g))
        inSource.add(code);
  const table = TABLE.map(([code]) => code);
  expect(new Set(table).size).toBe(table.length);
  expect(table.toSorted()).toEqual(specified.toSorted());
  expect([...inSource].toSorted()).toEqual(table.toSorted());
});
