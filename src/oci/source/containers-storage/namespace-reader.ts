// Reads what a user may not although it is in his own store: files of other owners in his containers
// (docs/spec/containers-storage.md, section 12). A helper does it as root of the user namespace that podman uses; what it sends is
// checked like everything else.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

import type { ByteString } from "../../../bytes/byte-string.ts";
import { ComposefsError } from "../../../error.ts";
import { workerEntry } from "../../../runtime/workers.ts";
import { ChunkReader } from "../../chunk-reader.ts";
import { storageError, type StorageFault } from "./fault.ts";
import type { RemoteFile } from "./rebuild.ts";

/** Programs that run a command as root of the user's namespace. */
const LAUNCHERS: readonly (readonly string[])[] = [
  ["podman", "unshare"],
  ["unshare", "--user", "--map-auto", "--map-root-user", "--setuid", "0", "--setgid", "0"],
];

const CAP_DAC_OVERRIDE = 1n << 1n;
const CAP_DAC_READ_SEARCH = 1n << 2n;

interface Helper {
  readonly process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly output: ChunkReader;
  /** What it said on its standard error. */
  readonly errors: () => string;
  readonly ended: Promise<void>;
}

/** Reads files of one layer in the namespace. The helper starts with the first file and ends when this is disposed of. */
export class NamespaceReader implements AsyncDisposable {
  readonly #directory: string;
  #helper: Helper | undefined;

  /** @param directory the layer's `diff` */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Whether the helper runs. */
  get started(): boolean {
    return this.#helper !== undefined;
  }

  /**
   * Opens a file there. Its bytes must be read before the next one is opened.
   *
   * @param refusal why it cannot be opened here
   * @throws ComposefsError `permission` when there is no helper, or it cannot either; what opening a file throws
   */
  async open(parts: readonly ByteString[], refusal: ComposefsError): Promise<RemoteFile> {
    const helper = (this.#helper ??= this.#start(refusal));
    const name = Buffer.from(parts.join("/"), "latin1");
    const request = Buffer.alloc(4 + name.length);
    request.writeUInt32LE(name.length);
    name.copy(request, 4);
    helper.process.stdin.write(request);
    const take = async (count: number): Promise<Buffer> => {
      const bytes = await helper.output.peek(count);
      if (bytes.length < count) throw this.#died(refusal);
      helper.output.skip(count);
      return Buffer.from(bytes.subarray(0, count));
    };
    if ((await take(1))[0] !== 0) {
      const length = (await take(4)).readUInt32LE();
      const { reason, message } = JSON.parse((await take(Math.min(length, 1 << 16))).toString()) as {
        reason: StorageFault;
        message: string;
      };
      throw storageError(reason, message);
    }
    const size = Number((await take(8)).readBigUInt64LE());
    const died = () => this.#died(refusal);
    async function* read(): AsyncGenerator<Uint8Array, void, undefined> {
      for (let left = size; left > 0; ) {
        const bytes = await helper.output.next();
        if (bytes === undefined) throw died();
        if (bytes.length > left) helper.output.unread(bytes.subarray(left));
        const part = bytes.subarray(0, left);
        left -= part.length;
        yield part;
      }
    }
    return { size, read };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const helper = this.#helper;
    if (helper === undefined) return;
    this.#helper = undefined;
    // The end of its input ends it; one that is writing what nobody takes any more is ended.
    helper.process.stdin.end();
    helper.process.stdout.destroy();
    await helper.ended;
    helper.process.stderr.destroy();
  }

  #start(refusal: ComposefsError): Helper {
    const launcher = canReadEverything() ? undefined : LAUNCHERS.find(([program]) => onPath(program as string));
    if (launcher === undefined) throw refused(refusal, "neither podman nor unshare is installed");
    const [program, ...words] = launcher as readonly [string, ...string[]];
    const child = spawn(program, [...words, ...ownCommand(), this.#directory], { stdio: ["pipe", "pipe", "pipe"] });
    let errors = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (errors.length < 4096) errors += text;
    });
    // Writing to a helper that has ended: what it said is reported instead.
    child.stdin.on("error", () => undefined);
    const ended = new Promise<void>((resolve) => {
      // Not `close`: podman leaves a process behind that keeps the pipes open.
      child.once("exit", () => resolve());
      child.once("error", (error) => {
        errors += error.message;
        resolve();
      });
    });
    return { process: child, output: new ChunkReader(child.stdout), errors: () => errors.trim(), ended };
  }

  #died(refusal: ComposefsError): ComposefsError {
    const said = this.#helper?.errors() ?? "";
    return refused(refusal, `the helper in the user namespace ended early${said === "" ? "" : `: ${said}`}`);
  }
}

function refused(refusal: ComposefsError, why: string): ComposefsError {
  return storageError("permission", `${refusal.message}; ${why}`, {
    cause: refusal,
    hint: "run the whole command in the user namespace of the store: podman unshare composefs ...",
  });
}

/** The command of this runtime that runs the helper. */
function ownCommand(): string[] {
  const program = fileURLToPath(workerEntry("./diff-files-worker", import.meta.url));
  if (process.versions["deno"] === undefined) return [process.execPath, program];
  return [process.execPath, "run", "--allow-read", "--allow-env", "--allow-sys", program];
}

function onPath(program: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Whether this process is not stopped by modes: then a refusal has another reason, and no namespace helps. */
function canReadEverything(): boolean {
  try {
    const mask = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0";
    return (BigInt(`0x${mask}`) & (CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH)) !== 0n;
  } catch {
    return process.getuid?.() === 0;
  }
}
