// The recorded lives of a sysroot (test/goldens/deploy/e2e.json), step by step, as calls of the library and as commands.

import { createHash } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { rollBack } from "../../src/deploy/carry-out-rollback.ts";
import { readGcRepository } from "../../src/deploy/gc-read.ts";
import { parseHostImage } from "../../src/deploy/image-reference.ts";
import { installDeployment } from "../../src/deploy/install.ts";
import { locateSysroot, type SysrootPaths } from "../../src/deploy/location.ts";
import { OpenSysroot } from "../../src/deploy/open-sysroot.ts";
import { switchDeployment } from "../../src/deploy/switch.ts";
import { ComposefsError } from "../../src/error.ts";
import { Repository } from "../../src/repository/repository.ts";
import { run } from "../cli/program.ts";
import { goldensDir } from "../goldens-dir.ts";
import { deployCases } from "./deploy-goldens.ts";

interface EtcNode {
  readonly t: "f" | "d" | "l";
  readonly m?: string;
  readonly c?: string;
}

interface Expected {
  readonly esp: Record<string, string | { sha256: string; size: number }>;
  readonly state: Record<string, { varLink: string; origin: string; etc: Record<string, EtcNode> }>;
  readonly ociTags: Record<string, string>;
  readonly manifests: string[];
  readonly var?: Record<string, EtcNode>;
}

interface Step {
  readonly op: "install" | "switch" | "edit-etc" | "edit-esp" | "rollback";
  readonly image?: string;
  readonly imageReference?: string;
  readonly deploymentId?: string;
  readonly bootDigest?: string;
  readonly inPlace?: boolean;
  readonly to?: string;
  readonly edits?: Record<string, EtcNode | string | null>;
  readonly error?: string;
  readonly slot?: string;
  readonly expect?: Expected;
}

interface Life {
  readonly bootloader: "systemd";
  readonly repositoryAlgorithm: "fsverity-sha512-12" | "fsverity-sha256-12";
  readonly erofsFormat: 1 | 2;
  readonly allowMissingVerity: boolean;
  readonly kargs: string[];
}

/** What both ways of doing a step give. */
interface Outcome {
  readonly id?: string | undefined;
  readonly error?: string | undefined;
  readonly slot?: string | undefined;
}

let root: string;
let sysroot: string;
let esp: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "composefs-e2e-"));
  [sysroot, esp] = [join(root, "sysroot"), join(root, "esp")];
  mkdirSync(sysroot);
  mkdirSync(esp);
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A layout with one of the test images, for a reference whose path is below /images. */
function layoutAt(image: string, path: string): void {
  const source = join(goldensDir("deploy"), "oci");
  mkdirSync(path, { recursive: true });
  const index = JSON.parse(readFileSync(join(source, "index.json"), "utf8")) as {
    manifests: { annotations?: Record<string, string> }[];
  };
  const manifests = index.manifests.filter(
    ({ annotations }) => annotations?.["org.opencontainers.image.ref.name"] === image,
  );
  expect(manifests.length, image).toBe(1);
  writeFileSync(join(path, "index.json"), JSON.stringify({ ...index, manifests }));
  writeFileSync(join(path, "oci-layout"), readFileSync(join(source, "oci-layout")));
  symlinkSync(join(source, "blobs"), join(path, "blobs"));
}

// References in the goldens are absolute paths; here they lie in the temporary directory.
const here = (text: string) => text.replaceAll("oci:/images/", `oci:${root}/images/`);

function filesOf(directory: string): Record<string, string | { sha256: string; size: number }> {
  return Object.fromEntries(
    readdirSync(directory, { recursive: true, encoding: "utf8", withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const path = join(entry.parentPath, entry.name);
        const bytes = readFileSync(path);
        const name = path.slice(directory.length + 1);
        if (name.endsWith(".conf")) return [name, bytes.toString()];
        return [name, { sha256: createHash("sha256").update(bytes).digest("hex"), size: bytes.length }];
      }),
  );
}

function treeOf(directory: string): Record<string, EtcNode> {
  const found: Record<string, EtcNode> = {};
  for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const path = join(directory, name);
    const stat = lstatSync(path);
    const mode = (stat.mode & 0o7777).toString(8);
    if (stat.isSymbolicLink()) found[name] = { t: "l", c: readlinkSync(path) };
    else if (stat.isDirectory()) found[name] = { t: "d", m: mode };
    else found[name] = { t: "f", m: mode, c: readFileSync(path, "utf8") };
  }
  return found;
}

async function check({ esp: espFiles, state, ociTags, manifests, var: shared }: Expected): Promise<void> {
  expect(filesOf(esp)).toEqual(espFiles);
  const deployments = join(sysroot, "state/deploy");
  const found = Object.fromEntries(
    readdirSync(deployments).map((id) => [
      id,
      {
        varLink: readlinkSync(join(deployments, id, "var")),
        origin: readFileSync(join(deployments, id, `${id}.origin`), "utf8"),
        etc: treeOf(join(deployments, id, "etc")),
      },
    ]),
  );
  expect(found).toEqual(JSON.parse(here(JSON.stringify(state))));
  await using repository = await Repository.open(join(sysroot, "composefs"));
  const stored = await readGcRepository(repository);
  expect(Object.fromEntries(stored.tags)).toEqual(ociTags);
  expect([...stored.manifests.keys()].sort()).toEqual(manifests);
  if (shared) expect(treeOf(join(sysroot, "state/os/default/var"))).toEqual(shared);
}

function edit(directory: string, edits: Record<string, EtcNode | string | null>): void {
  for (const [name, node] of Object.entries(edits)) {
    const path = join(directory, name);
    if (node === null) rmSync(path);
    else if (typeof node !== "string" && node.t === "d") mkdirSync(path, { recursive: true });
    else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, typeof node === "string" ? node : (node.c ?? ""));
    }
    if (node !== null && typeof node !== "string" && node.m !== undefined) chmodSync(path, Number.parseInt(node.m, 8));
  }
}

async function outcomeOf(call: () => Promise<string | undefined>): Promise<Outcome> {
  try {
    return { id: await call() };
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    return { error: error.reason, slot: error.slot };
  }
}

const ALGORITHM = { "fsverity-sha512-12": "sha512", "fsverity-sha256-12": "sha256" } as const;

/** The library. */
function byCalls(life: Life): (step: Step) => Promise<Outcome> {
  const paths: SysrootPaths = { sysroot, esp, bootloader: life.bootloader, offline: true };
  return (step) =>
    outcomeOf(async () => {
      const reference = () => parseHostImage(`ostree-unverified-image:${here(step.imageReference ?? "")}`);
      if (step.op === "install") {
        const installed = await installDeployment(paths, reference(), {
          algorithm: ALGORITHM[life.repositoryAlgorithm],
          erofsVersion: life.erofsFormat,
          verity: life.allowMissingVerity ? "allow-missing" : undefined,
          kargs: life.kargs,
        });
        expect(installed.bootDigest).toBe(step.bootDigest);
        return installed.id;
      }
      await using open = await OpenSysroot.open(locateSysroot(paths));
      if (step.op === "switch") return (await switchDeployment(open, reference(), { inPlace: step.inPlace })).id;
      return (await rollBack(open, step.to)).order[0];
    });
}

/** The command line. */
function byCommands(life: Life): (step: Step) => Promise<Outcome> {
  return async (step) => {
    const [transport = "", ...rest] = here(step.imageReference ?? "").split(":");
    const where = ["--sysroot", sysroot, "--esp", esp, "--json"];
    const words = {
      install: [
        "install",
        `${transport}:${rest.join(":")}`,
        `--bootloader=${life.bootloader}`,
        `--hash=${ALGORITHM[life.repositoryAlgorithm]}`,
        `--erofs-version=${life.erofsFormat}`,
        ...(life.allowMissingVerity ? ["--allow-missing-verity"] : []),
        ...life.kargs.flatMap((karg) => ["--karg", karg]),
      ],
      switch: ["switch", "--transport", transport, rest.join(":"), ...(step.inPlace ? ["--in-place"] : [])],
      rollback: ["rollback", "--to", step.to ?? ""],
    }[step.op as "install" | "switch" | "rollback"];
    const { status, stdout, stderr } = await run(["deploy", ...words, ...where, "--progress", "json"]);
    if (status === 0) {
      const { id, order } = JSON.parse(stdout) as { id?: string; order?: string[] };
      return { id: id ?? order?.[0] };
    }
    const { reason, slot } = JSON.parse(stderr.trimEnd().split("\n").at(-1) ?? "") as Record<string, string>;
    return { error: reason, slot };
  };
}

describe.each([
  ["calls", byCalls],
  ["commands", byCommands],
] as const)("as %s", (_, make) => {
  test.each(deployCases<Life, { steps: Step[] }>("e2e"))(
    "$name",
    { timeout: 120_000 },
    async ({ input, expect: life }) => {
      const act = make(input);
      for (const [index, step] of life.steps.entries()) {
        const { op, image, imageReference, deploymentId = "", edits = {} } = step;
        if (op === "edit-etc") edit(join(sysroot, "state/deploy", deploymentId, "etc"), edits);
        else if (op === "edit-esp") edit(esp, edits);
        else {
          const path = here(imageReference ?? "").replace("oci:", "");
          if (image !== undefined && lstatSync(path, { throwIfNoEntry: false }) === undefined) layoutAt(image, path);
          const before = step.error === undefined ? undefined : snapshot();
          const { id, error, slot } = await act(step);
          expect({ error, slot }, `step ${index}`).toEqual({ error: step.error, slot: step.slot });
          if (before) expect(snapshot(), `step ${index}`).toEqual(before);
          else expect(id, `step ${index}`).toBe(step.to ?? deploymentId);
        }
        if (step.expect) await check(step.expect);
      }
    },
  );
});

// Everything but the repository's objects.
function snapshot(): unknown {
  const streams = readdirSync(join(sysroot, "composefs/streams"), { recursive: true, encoding: "utf8" }).sort();
  return { streams, state: filesOf(join(sysroot, "state")), esp: filesOf(esp) };
}
