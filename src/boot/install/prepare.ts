// Which files make an image bootable with composefs-rs' own initramfs program (docs/spec/boot.md, section 9): the choice of the
// resource, and the plan for a boot directory.

import { displayBytes, fromByteString, type ByteString } from "../../bytes/byte-string.ts";
import type { Algorithm, ObjectId } from "../../bytes/algorithm.ts";
import { ComposefsError } from "../../error.ts";
import { checkUkiDigest, isComposefsWord } from "../kargs/composefs-argument.ts";
import { splitCommandLine } from "../kargs/command-line.ts";
import {
  addEntryArgument,
  entryLineValue,
  entryValues,
  joinEntryLines,
  setEntryComposefsArgument,
} from "../entry/lines.ts";
import type { BootResource, EntryResource, KernelResource, PeResource } from "../resource.ts";
import { type BootStep, checkBootName, checkDistinctTargets } from "../change/steps.ts";

/** What an entry is made with. */
export interface PrepareOptions {
  /** The composefs argument as `renderComposefsArgument` writes it. */
  readonly argument: string;
  /** Further kernel arguments, one each. Of several with one name the last stays, as the line editor has it. */
  readonly extra?: readonly string[];
  /** Names the entry and the directory of its files; otherwise the kernel version or the names in the image do. */
  readonly entryId?: string | undefined;
  /** A directory below the boot directory that everything goes into. */
  readonly subdirectory?: string | undefined;
  /** What the menu shows for a plain kernel. composefs-rs writes a placeholder, which is what is written without this. */
  readonly title?: string | undefined;
  /** The version by which menus sort a plain kernel; likewise. */
  readonly version?: string | undefined;
}

/** The command line of a UKI and what it must say. */
export interface UkiCheck {
  /** Text of its section `.cmdline`. */
  readonly commandLine: string;
  readonly algorithm: Algorithm;
  /** The id of the image that is to boot. */
  readonly digest: ObjectId;
}

/**
 * The resource that an image is booted with: the first one that is no addon.
 *
 * @throws ComposefsError `not-found` with the reason `no-entries`
 */
export function chooseBootResource(resources: readonly BootResource[]): BootResource {
  const chosen = resources.find((resource) => resource.kind !== "type2" || resource.type === "uki");
  if (chosen) return chosen;
  throw new ComposefsError(
    "not-found",
    resources.length === 0
      ? "the image has nothing to boot: no boot entry, no UKI and no kernel"
      : "the image has addons, but no UKI, boot entry or kernel that they belong to",
    {
      reason: "no-entries",
      hint: "it needs /usr/lib/modules/VERSION/vmlinuz with initramfs.img, a UKI in /boot/EFI/Linux, or /boot/loader/entries/*.conf",
    },
  );
}

/**
 * The steps that make a resource bootable: kernels first, the entry last. Paths are relative to the boot directory.
 *
 * @param resource from {@link chooseBootResource}
 * @param uki what to check of a UKI; without it nothing is
 * @throws ComposefsError `usage` for options that cannot be; `invalid` or `digest-mismatch` with the reasons `no-initramfs`,
 *   `cmdline-on-uki`, `uki-no-karg`, `uki-digest-mismatch`, `karg-bad-...`, `invalid-name`
 */
export function planPrepareBoot(resource: BootResource, options: PrepareOptions, uki?: () => UkiCheck): BootStep[] {
  const { entryId, extra = [] } = options;
  if (entryId !== undefined) checkBootName(entryId, "the entry id", "usage");
  for (const argument of extra) checkExtra(argument);
  const below = subdirectory(options.subdirectory);
  const steps =
    resource.kind === "vmlinuz"
      ? planKernel(resource, options, below)
      : resource.kind === "type1"
        ? planEntry(resource, options, below)
        : planUki(resource, options, below, uki);
  checkDistinctTargets(steps);
  return steps;
}

/** Where everything goes: empty, or a path with a slash at its end. */
function subdirectory(path: string | undefined): string {
  const components = (path ?? "").split("/").filter((part) => part !== "");
  for (const component of components) checkBootName(component, "the subdirectory's component", "usage");
  return components.map((component) => `${component}/`).join("");
}

function checkExtra(argument: string): void {
  const fail = (message: string, hint: string) => new ComposefsError("usage", message, { hint });
  if (argument.trim() === "") throw fail("a kernel argument is empty", "leave it away");
  // oxlint-disable-next-line no-control-regex -- they would end the line, or be shown as something else
  if (/[\u0000-\u001f]/.test(argument))
    throw fail(
      `the kernel argument ${JSON.stringify(argument)} has control characters`,
      "give each argument on its own",
    );
  if (isComposefsWord(argument))
    throw fail(`the kernel argument ${argument} names an image itself`, "the argument of the image is added anyway");
}

function withArguments(lines: readonly string[], { argument, extra = [] }: PrepareOptions): string {
  const named = setEntryComposefsArgument(lines, argument);
  const done = extra.reduce((all, one) => addEntryArgument(all, one), named);
  if (!splitCommandLine(entryValues(done, "options").join(" ")).includes(argument))
    throw new ComposefsError(
      "invalid",
      "the options of the boot entry have a quote that is not closed, which swallows what is added",
      {
        hint: "close the quote in the entry of the image, or among the arguments given",
      },
    );
  return joinEntryLines(done);
}

function planKernel(resource: KernelResource, options: PrepareOptions, below: string): BootStep[] {
  const { initramfs, kernel } = resource;
  if (initramfs === undefined)
    throw new ComposefsError("invalid", `the kernel ${kernel} has no initramfs.img beside it`, {
      path: displayBytes(resource.vmlinuz.path),
      reason: "no-initramfs",
      hint: "make one when the image is built, for example with dracut",
    });
  const { entryId, title = "todoOS", version = "0-todo" } = options;
  const id = entryId ?? kernel;
  checkBootName(id, "the kernel version");
  for (const [what, value] of Object.entries({ title, version }))
    if (/[\n\r]/.test(value)) throw new ComposefsError("usage", `the ${what} of a boot entry cannot have a line break`);
  // Only with an id does the path in the entry tell the subdirectory; without, it is taken for a mount point.
  const prefix = entryId === undefined ? "/" : `/${below}`;
  const lines = [
    "# File created by composefs",
    `title ${title}`,
    `version ${version}`,
    `linux ${prefix}${id}/vmlinuz`,
    `initrd ${prefix}${id}/initramfs.img`,
  ];
  return [
    { do: "copy", on: "boot", path: `${below}${id}/vmlinuz`, file: resource.vmlinuz },
    { do: "copy", on: "boot", path: `${below}${id}/initramfs.img`, file: initramfs },
    { do: "write", on: "boot", path: `${below}loader/entries/${id}.conf`, text: withArguments(lines, options) },
  ];
}

function planEntry(resource: EntryResource, options: PrepareOptions, below: string): BootStep[] {
  const { entryId } = options;
  const steps: BootStep[] = [];
  const renamed = new Map<string, string>();
  for (const [value, file] of resource.files) {
    const components = pathText(file.path)
      .split("/")
      .filter((part) => part !== "");
    const path = entryId === undefined ? components.join("/") : `${entryId}/${components.at(-1) ?? ""}`;
    if (entryId !== undefined) renamed.set(value, `/${below}${path}`);
    steps.push({ do: "copy", on: "boot", path: below + path, file });
  }
  const lines = resource.lines.map((line) => renameFile(line, renamed));
  const filename = entryId === undefined ? pathText(resource.filename) : `${entryId}.conf`;
  checkBootName(filename, "the entry file");
  const text = withArguments(lines, options);
  steps.push({ do: "write", on: "boot", path: `${below}loader/entries/${filename}`, text });
  return steps;
}

function renameFile(line: string, renamed: ReadonlyMap<string, string>): string {
  for (const key of ["linux", "initrd", "efi"]) {
    const value = entryLineValue(line, key);
    const path = value === undefined ? undefined : renamed.get(value);
    if (value !== undefined && path !== undefined) return line.slice(0, line.length - value.length) + path;
  }
  return line;
}

function planUki(
  resource: PeResource,
  options: PrepareOptions,
  below: string,
  check: (() => UkiCheck) | undefined,
): BootStep[] {
  const source = displayBytes(resource.file.path);
  if (options.extra !== undefined && options.extra.length > 0)
    throw new ComposefsError("usage", `${source} has its own kernel command line, to which nothing can be added`, {
      reason: "cmdline-on-uki",
      path: source,
      hint: "leave --cmdline away, or put the arguments into the UKI when it is built",
    });
  if (check !== undefined) {
    const { commandLine, algorithm, digest } = check();
    checkUkiDigest(commandLine, algorithm, [digest], source);
  }
  const components = pathText(resource.relative).split("/");
  if (options.entryId !== undefined) components.splice(-1, 1, `${options.entryId}.efi`);
  return [{ do: "copy", on: "boot", path: `${below}EFI/Linux/${components.join("/")}`, file: resource.file }];
}

/** A path of the image as text, each component fit for a boot directory. */
function pathText(path: ByteString): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(fromByteString(path));
  } catch (cause) {
    throw new ComposefsError(
      "invalid",
      `the name of ${displayBytes(path)} is not UTF-8: a boot directory cannot hold it`,
      {
        path: displayBytes(path),
        reason: "not-utf8",
        cause,
      },
    );
  }
  for (const component of text.split("/")) if (component !== "") checkBootName(component, "the file of the image");
  return text;
}
