// Podman, driven on the container storage of a sysroot (docs/spec/deployments.md, section 7): it alone writes there.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ComposefsError } from "../../error.ts";
import { formatPlatform, type Platform } from "../../oci/platform.ts";
import type { RegistryOptions } from "../../oci/registry/requests.ts";
import { type HostImage, pullReference } from "../image-reference.ts";
import type { OpenSysroot } from "../open-sysroot.ts";
import { ownedStorageRoot } from "./owned-storage.ts";

/** Ids that one call removes. */
const BATCH = 100;
/** What is kept of what a failed call said. */
const SAID = 4000;
/** Where the credentials of the system lie, never those of a user. */
const AUTH_FILES = ["/run/ostree/auth.json", "/etc/ostree/auth.json"];

/** How an image comes into the storage. */
export interface FillOptions {
  readonly registry?: RegistryOptions | undefined;
  readonly platform?: Platform | undefined;
}

/** The storage of a sysroot, open for podman; its run directory goes at the end. */
export class OwnedStorage implements Disposable {
  readonly root: string;
  readonly #run: string;
  readonly #signal: AbortSignal | undefined;

  /** Makes the storage when there is none. */
  constructor({ location, signal }: Pick<OpenSysroot, "location" | "signal">) {
    this.root = ownedStorageRoot(location.sysroot);
    this.#signal = signal;
    mkdirSync(this.root, { recursive: true, mode: 0o700 });
    // Podman takes only short paths for it.
    this.#run = mkdtempSync(join(tmpdir(), "composefs-podman-"));
    writeFileSync(this.#at("storage.conf"), storageConf(this.root, this.#at("run")));
    writeFileSync(this.#at("containers.conf"), containersConf(this.#run));
  }

  /**
   * Brings an image in: from the host's own storage, or from wherever its reference says.
   *
   * @returns its id
   * @throws ComposefsError `unsupported` without podman; `io` with what podman said
   */
  async fill(reference: HostImage, { registry, platform }: FillOptions = {}): Promise<string> {
    if (reference.transport === "containers-storage") {
      const target = `containers-storage:[overlay@${this.root}+${this.#at("run")}]${reference.image}`;
      await run(
        ["image", "push", "--quiet", "--remove-signatures", reference.image, target],
        process.env,
        this.#signal,
      );
      const said = await this.#call(["image", "inspect", "--format", "{{.Id}}", reference.image]);
      return lastLine(said);
    }
    const words = ["image", "pull", "--quiet", "--authfile", registry?.authFile ?? this.#authFile()];
    if (registry?.tlsVerify !== undefined) words.push(`--tls-verify=${registry.tlsVerify}`);
    const { credentials } = registry ?? {};
    if (credentials) words.push("--creds", `${credentials.username}:${credentials.password}`);
    if (platform) words.push("--platform", formatPlatform(platform));
    return lastLine(await this.#call([...words, pullReference(reference)]));
  }

  /** Gives an image another name. */
  async tag(id: string, name: string): Promise<void> {
    await this.#call(["image", "tag", id, name]);
  }

  /** Removes images with all their names. One that a container still uses stays, and is told. */
  async remove(ids: readonly string[], warn: (message: string) => void): Promise<void> {
    for (let at = 0; at < ids.length; at += BATCH) {
      const batch = ids.slice(at, at + BATCH);
      try {
        // Not forced, which would remove the containers, too.
        for (const id of batch) await this.#call(["image", "untag", id]);
        await this.#call(["image", "rm", ...batch]);
      } catch (error) {
        if (!(error instanceof ComposefsError) || error.code === "aborted") throw error;
        warn(`images of the container storage are not removed: ${error.message}`);
      }
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#run, { recursive: true, force: true });
  }

  #authFile(): string {
    const found = AUTH_FILES.find((path) => existsSync(path));
    if (found !== undefined) return found;
    const none = this.#at("auth.json");
    writeFileSync(none, "{}");
    return none;
  }

  #at(name: string): string {
    return join(this.#run, name);
  }

  #call(words: readonly string[]): Promise<string> {
    const environment = {
      ...process.env,
      CONTAINERS_STORAGE_CONF: this.#at("storage.conf"),
      CONTAINERS_CONF: this.#at("containers.conf"),
    };
    return run(words, environment, this.#signal);
  }
}

function storageConf(root: string, runRoot: string): string {
  return `[storage]\ndriver = "overlay"\ngraphroot = ${JSON.stringify(root)}\nrunroot = ${JSON.stringify(runRoot)}\n`;
}

// Its database remembers the paths with which it was made, and refuses others: with one of our own, that of whoever runs containers there,
// perhaps by another name of the directory, is not touched.
function containersConf(directory: string): string {
  const lines = ["static_dir", "tmp_dir", "volume_path"].map(
    (key) => `${key} = ${JSON.stringify(join(directory, key))}`,
  );
  return `[engine]\n${lines.join("\n")}\n`;
}

function lastLine(text: string): string {
  const line = text.trimEnd().split("\n").at(-1) ?? "";
  const id = line.replace(/^sha256:/, "");
  if (/^[0-9a-f]{64}$/.test(id)) return id;
  throw new ComposefsError("io", `podman says ${JSON.stringify(line.slice(0, 200))} and no id of an image`);
}

async function run(words: readonly string[], env: NodeJS.ProcessEnv, signal: AbortSignal | undefined): Promise<string> {
  const child = spawn("podman", words, { env, stdio: ["ignore", "pipe", "pipe"], ...(signal && { signal }) });
  let out = "";
  let said = "";
  child.stdout.on("data", (bytes: Buffer) => (out = (out + bytes.toString()).slice(-SAID)));
  child.stderr.on("data", (bytes: Buffer) => (said = (said + bytes.toString()).slice(-SAID)));
  const status = await new Promise<number | string>((resolve, reject) => {
    child.on("error", (error) => reject(startError(error)));
    child.on("close", (code, killer) => resolve(code ?? killer ?? "no status"));
  });
  if (status === 0) return out;
  throw new ComposefsError(
    "io",
    `podman ${words.slice(0, 2).join(" ")} ended with ${status}: ${said.trim() || "it said nothing"}`,
    {
      hint: "correct what podman complains of and run the command again: what is there already is kept",
    },
  );
}

function startError(error: Error): unknown {
  if (error.name === "AbortError") return new ComposefsError("aborted", "podman was stopped", { cause: error });
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") return error;
  return new ComposefsError("unsupported", "the container storage of the system needs podman, which is not installed", {
    cause: error,
    hint: "install podman, or leave --unified away",
  });
}
