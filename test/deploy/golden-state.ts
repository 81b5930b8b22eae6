// The state of a sysroot as the goldens write it, turned into that of the planners.

import { parseImageConfig } from "../../src/oci/config.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import type { ImageDocuments, NamedText, StateDirectory, SysrootState } from "../../src/deploy/state.ts";
import { testImages } from "./deploy-goldens.ts";

/** The member `input` of cases of status, decisions and gc. */
export interface GoldenState {
  readonly bootloader: SysrootState["bootloader"];
  readonly bootedId: string | null;
  readonly missingVerityAllowed: boolean;
  readonly selinuxCompatible?: boolean;
  readonly boot: {
    readonly entries?: NamedText[];
    readonly entriesStaged?: NamedText[];
    readonly userCfg?: string;
    readonly userCfgStaged?: string;
  };
  readonly stagedDeployment: string | null;
  readonly state: Record<string, { origin: string | null; imginfo?: string }>;
  readonly repo: { readonly manifests: Record<string, string | { name: string }> };
}

const images = new Map<string, ImageDocuments>(
  Object.entries(testImages()).map(([name, { manifest, config }]) => [
    name,
    {
      manifest: parseManifest(Buffer.from(JSON.stringify(manifest))),
      config: parseImageConfig(Buffer.from(JSON.stringify(config))),
    },
  ]),
);

function documentsOf(image: string | { name: string }): ImageDocuments {
  const name = typeof image === "string" ? image : image.name;
  const documents = images.get(name);
  if (!documents) throw new Error(`no test image ${name}`);
  return documents;
}

/** The state that the planners take. */
export function sysrootState(golden: GoldenState): SysrootState {
  return {
    bootloader: golden.bootloader,
    algorithm: "sha512",
    bootedId: golden.bootedId ?? undefined,
    missingVerityAllowed: golden.missingVerityAllowed,
    selinuxCompatible: golden.selinuxCompatible,
    boot: { ...golden.boot, entries: golden.boot.entries ?? [] },
    stagedDeployment: golden.stagedDeployment ?? undefined,
    state: new Map(
      Object.entries(golden.state).map(([id, { origin, imginfo }]): [string, StateDirectory] => [
        id,
        { origin: origin ?? undefined, imginfo },
      ]),
    ),
    images: new Map(Object.entries(golden.repo.manifests).map(([digest, image]) => [digest, documentsOf(image)])),
  };
}
