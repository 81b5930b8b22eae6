// `composefs oci pull REFERENCE [NAME]` (docs/spec/oci.md, section 8)

import { writeFile } from "node:fs/promises";
import type {
  ImageReference,
  LocalFetch,
  PlatformPull,
  PullReferrersOptions,
  PullResult,
  PullStats,
  Repository,
} from "../../index.ts";
import type { Command } from "../command.ts";
import { UsageError } from "../failure.ts";
import { jobsGiven, jobsOption } from "../jobs.ts";
import { REGISTRY_OPTIONS, registryOptions } from "../registry-options.ts";
import { formatSize } from "../size.ts";

export const ociPull: Command = {
  name: "oci pull",
  summary: "import an OCI image and build its composefs image",
  description:
    "REFERENCE names where the image is: oci:DIRECTORY[:TAG] is a layout, oci-archive:FILE[:TAG] a tar of one, " +
    "docker-archive:FILE[:NAME:TAG] what docker save writes, dir:DIRECTORY what skopeo copies there, docker://NAME[:TAG] an " +
    "image on a registry, for which the credentials of podman and Docker are used, docker-daemon:NAME[:TAG] one of a Docker engine, " +
    "which DOCKER_HOST may name, containers-storage:NAME one of podman, whose files are shared with the repository where that can be done " +
    "safely. No other command uses the network. Layers are verified while they stream in; " +
    "nothing of a refused image is published. What is there already is not read again. The image is tagged NAME, or " +
    "with the reference itself. Without a repository option, the user's default repository is made when it is missing.",
  arguments: [
    { name: "REFERENCE", description: "the image", completes: "reference" },
    { name: "NAME", optional: true, description: "its tag in the repository" },
  ],
  options: [
    { name: "bootable", description: "make the boot image too: /boot and /sysroot emptied, files labelled" },
    {
      name: "expected-digest",
      value: "HEX",
      description: "with --bootable: find the boot image that a kernel command line names, however it was made",
    },
    {
      name: "platform",
      value: "OS/ARCH[/VARIANT]",
      description: "which image of an index; this machine's when left out",
    },
    {
      name: "all",
      description: "every image of an index, each tagged NAME-OS-ARCH[-VARIANT]; this machine's gets NAME, too",
    },
    {
      name: "keep-compressed",
      description:
        "keep the layers as they came, too: a copy of the image then has the same manifest, whose signatures hold",
    },
    {
      name: "referrers",
      value: "all|TYPE",
      description: "docker: also the artifacts that refer to the image, such as signatures, all or those of a type",
    },
    jobsOption("layers imported"),
    {
      name: "whole-layers",
      description: "from a registry: fetch also those files of zstd:chunked and eStargz layers that are there already",
    },
    ...REGISTRY_OPTIONS,
    {
      name: "local-fetch",
      value: "disabled|auto|zerocopy",
      description:
        "containers-storage: whether files are copied, copied only where they cannot be shared or linked, or never copied",
    },
    {
      name: "storage-root",
      value: "DIR",
      description: "containers-storage: the store, instead of the one that storage.conf names",
      completes: "directory",
    },
    { name: "digest-file", value: "FILE", description: "write the manifest digest into FILE", completes: "file" },
  ],
  examples: [
    { line: "oci pull oci:./image:v1", says: "into the default repository, tagged oci:./image:v1" },
    { line: "oci pull --repo /srv/images oci:./image:v1 os:v1", says: "into another one, tagged os:v1" },
    { line: "oci pull docker://h.example/project/os:v1 os:v1", says: "from a registry" },
    {
      line: "oci pull --all docker://h.example/project/os:v1 os:v1",
      says: "os:v1-linux-amd64, os:v1-linux-arm64, and os:v1",
    },
    {
      line: "oci pull containers-storage:localhost/os:v1 os:v1",
      says: "what podman built or pulled, without a download",
    },
    { line: "oci pull --bootable oci:./image:v1 os:v1", says: "and its boot image: the last line is its digest" },
    {
      line: "oci pull --json --progress json oci:./image:v1",
      says: "for programs: result on stdout, events on stderr",
    },
  ],
  interrupted:
    "interrupted; nothing of the image was published. Objects that are stored already are kept: run the same pull again to go on",
  async run(context) {
    const { args, global, text, out, signal, progress } = context;
    const [reference = "", tag] = args;
    const platform = text("platform");
    const jobs = jobsGiven(context);
    const bootable = context.flag("bootable");
    const expectedDigest = text("expected-digest");
    if (expectedDigest !== undefined && !bootable)
      throw new UsageError("--expected-digest needs --bootable", "the digest is that of a boot image");
    const registry = registryOptions(context);
    const all = context.flag("all");
    const digestFile = text("digest-file");
    const referrers = text("referrers");
    for (const other of ["platform", "expected-digest", "digest-file", "referrers"])
      if (all && text(other) !== undefined)
        throw new UsageError(`--all and --${other} exclude each other`, `--${other} is about one image`);
    const localFetch = localFetchOption(text("local-fetch"));
    const storage = { root: text("storage-root") };
    const { parsePlatform } = await import("../../oci/platform.ts");
    const { parseReference } = await import("../../oci/reference.ts");
    const { checkTag } = await import("../../oci/tag-name.ts");
    // Wrong words must not make a repository.
    const parsed = parseReference(reference);
    if (referrers !== undefined && parsed.transport !== "docker")
      throw new UsageError(`--referrers needs a registry, not ${parsed.transport}:`, "as in docker://HOST/NAME");
    checkTag(tag ?? reference);
    const wanted = platform === undefined ? undefined : parsePlatform(platform);
    await using repository = await context.openRepository({ write: true, create: true });
    const keepCompressed = context.flag("keep-compressed");
    const common = {
      tag,
      jobs,
      bootable,
      keepCompressed,
      wholeLayers: context.flag("whole-layers"),
      registry,
      storage,
      localFetch,
      signal,
      onProgress: progress,
    };
    if (all) {
      const { pullAll } = await import("../../oci/pull-all.ts");
      const { formatPlatform } = await import("../../oci/platform.ts");
      const results = await pullAll(repository, parsed, common);
      const name = ({ platform: one }: PlatformPull) => (one === undefined ? null : formatPlatform(one));
      if (global.json) return out.json({ images: results.map((one) => ({ platform: name(one), ...asJson(one) })) });
      const parts = results.map((one) => `platform ${name(one) ?? "-"}\n${asText(one)}${bootText(one, false)}`);
      return out.write(parts.join("\n"));
    }
    const { pull } = await import("../../oci/pull.ts");
    const result = await pull(repository, parsed, { ...common, platform: wanted, expectedDigest });
    if (digestFile !== undefined) await writeFile(digestFile, `${result.manifestDigest}\n`);
    const artifacts =
      referrers === undefined ? undefined : await referrersOf(repository, parsed, result, referrers, common);
    if (global.json) await out.json({ ...asJson(result), ...(artifacts && { referrers: artifacts }) });
    else {
      const lines = (artifacts ?? []).map((digest) => `referrer ${digest}\n`);
      await out.write(asText(result) + lines.join("") + bootText(result, expectedDigest !== undefined));
    }
  },
};

function localFetchOption(value = "auto"): LocalFetch {
  if (value === "disabled" || value === "auto" || value === "zerocopy") return value;
  throw new UsageError(`option --local-fetch takes disabled, auto or zerocopy, not "${value}"`);
}

async function referrersOf(
  repository: Repository,
  reference: ImageReference,
  image: PullResult,
  which: string,
  options: PullReferrersOptions,
): Promise<string[]> {
  const { pullReferrers } = await import("../../oci/pull-referrers.ts");
  const subject = image.sourceManifestDigest ?? image.manifestDigest;
  const artifactType = which === "all" ? undefined : which;
  const pulled = await pullReferrers(repository, reference, subject, { ...options, artifactType });
  return pulled.map(({ manifestDigest }) => manifestDigest);
}

// With the ways in which objects came, where some did not have to be written.
function objectsText({
  newObjects,
  presentObjects,
  storedBytes,
  inlineBytes,
  reflinked,
  hardlinked,
}: PullStats): string {
  const inlined = `${formatSize(inlineBytes)} inlined`;
  const shared = Object.entries({ reflinked, hardlinked }).filter(([, { objects }]) => objects > 0);
  if (shared.length === 0) {
    return `${newObjects} new + ${presentObjects} already present objects; ${formatSize(storedBytes)} stored, ${inlined}`;
  }
  const copied = {
    objects: newObjects - reflinked.objects - hardlinked.objects,
    bytes: storedBytes - reflinked.bytes - hardlinked.bytes,
  };
  const ways = [...shared, ["copied", copied] as const];
  const counts = ways.map(([way, { objects }]) => `${objects} ${way}`).join(" + ");
  const sizes = ways.map(([way, { bytes }]) => `${formatSize(bytes)} ${way}`).join(", ");
  return `${counts} + ${presentObjects} already present objects; ${sizes}, ${inlined}`;
}

// Stable lines: key, then the value in column 10.
function asText(result: PullResult): string {
  const { stats } = result;
  const lines = [
    `manifest ${result.manifestDigest}`,
    `config   ${result.configDigest}`,
    `verity   ${result.verity}`,
    `tagged   ${result.tag}`,
    `objects  ${objectsText(stats)}`,
  ];
  if (stats.sparedBytes > 0) lines.push(`spared   ${formatSize(stats.sparedBytes)} that were there already`);
  for (const [index, { version, id }] of result.images.entries()) {
    lines.push(`image    ${id}${index === 0 ? "" : ` (format V${version})`}`);
  }
  return `${lines.join("\n")}\n`;
}

function bootText({ bootImages }: PullResult, wasSearched: boolean): string {
  const lines = bootImages.map(({ version, xattrs, id }, index) => {
    if (wasSearched) return `Boot image: ${id} (xattr-mode=${xattrs}, format-version=V${version})\n`;
    return `Boot image: ${id}${index === 0 ? "" : ` (format V${version})`}\n`;
  });
  return lines.join("");
}

function asJson(result: PullResult): object {
  const { stats } = result;
  return {
    manifest: result.manifestDigest,
    source_manifest: result.sourceManifestDigest ?? null,
    config: result.configDigest,
    verity: result.verity,
    tag: result.tag,
    is_container: result.isContainer,
    images: result.images.map(({ version, id }) => ({ format: version, id })),
    boot_images: result.bootImages.map(({ version, xattrs, id }) => ({ format: version, xattrs, id })),
    statistics: {
      objects_new: stats.newObjects,
      objects_present: stats.presentObjects,
      bytes_stored: stats.storedBytes,
      bytes_inlined: stats.inlineBytes,
      objects_reflinked: stats.reflinked.objects,
      bytes_reflinked: stats.reflinked.bytes,
      objects_hardlinked: stats.hardlinked.objects,
      bytes_hardlinked: stats.hardlinked.bytes,
      layers_imported: stats.importedLayers,
      layers_skipped: stats.skippedLayers,
      bytes_spared: stats.sparedBytes,
    },
  };
}
