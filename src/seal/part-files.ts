// The chosen parts, opened, and the UKI planned from them (docs/spec/boot.md, section 5).

import { openFileSource } from "../boot/file-source.ts";
import { kernelVersionOf } from "../boot/uki/kernel-version.ts";
import type { PeSource } from "../boot/pe/read.ts";
import { openVerifiedFile } from "../boot/repository-files.ts";
import { type PePlan, planAddon, planUki } from "../boot/uki/write.ts";
import { ComposefsError } from "../error.ts";
import type { Repository } from "../repository/repository.ts";
import type { ChosenParts, Part } from "./parts.ts";

/** Largest stub and os-release that are read, in bytes; real ones have 100 KiB and 1 KiB. */
const STUB_LIMIT = 64 << 20;
const TEXT_LIMIT = 1 << 20;

/**
 * Opens the parts, plans the UKI and its addons, and hands the plans on: the parts stay open until `use` has ended.
 *
 * @param addons command lines of the addons
 * @param use gets the UKI's plan and then those of the addons
 * @throws ComposefsError `not-found` and the like for the files, and as `planUki`
 */
export async function planFiles<T>(
  repository: Repository,
  parts: ChosenParts,
  commandLine: string,
  addons: readonly string[],
  signal: AbortSignal | undefined,
  use: (plans: readonly PePlan[]) => Promise<T>,
): Promise<T> {
  using stack = new OpenParts();
  const open = (part: Part): PeSource =>
    stack.add(part.from === "file" ? openFileSource(part.path) : openVerifiedFile(repository, part.file, signal));
  const optional = <N extends string>(name: N, part: Part | undefined) =>
    (part === undefined ? {} : { [name]: open(part) }) as Partial<Record<N, PeSource>>;
  const uki = planUki({
    stub: { bytes: whole(open(parts.stub), parts.stub, STUB_LIMIT), name: parts.stub.path },
    kernel: open(parts.kernel),
    initramfs: parts.initramfs.map(open),
    commandLine,
    kernelVersion: parts.kernelVersion,
    ...(parts.osRelease === undefined ? {} : { osRelease: whole(open(parts.osRelease), parts.osRelease, TEXT_LIMIT) }),
    ...optional("splash", parts.splash),
    ...optional("devicetree", parts.devicetree),
    ...optional("microcode", parts.microcode),
  });
  const { addonStub } = parts;
  const plans = [uki];
  if (addonStub !== undefined) {
    const stub = { bytes: whole(open(addonStub), addonStub, STUB_LIMIT), name: addonStub.path };
    for (const line of addons) plans.push(planAddon({ stub, commandLine: line }));
  }
  // Awaited here: the parts are closed on return.
  return await use(plans);
}

/** The version that a kernel says it has. */
export function versionOfFile(path: string): string | undefined {
  using file = openFileSource(path);
  return kernelVersionOf(file);
}

function whole(source: PeSource, { path }: Part, limit: number): Uint8Array {
  if (source.size > limit) {
    throw new ComposefsError("limit", `${path} has ${source.size} bytes; at most ${limit} are read`, { path });
  }
  return source.read(0, source.size);
}

/** What is open; DisposableStack is younger than Node 20. */
class OpenParts implements Disposable {
  readonly #open: Disposable[] = [];

  add<T extends Disposable>(one: T): T {
    this.#open.push(one);
    return one;
  }

  [Symbol.dispose](): void {
    for (const one of this.#open.toReversed()) one[Symbol.dispose]();
  }
}
