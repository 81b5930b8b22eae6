// One run of the virtual machine: QEMU under software emulation boots a kernel, runs steps, and hands over what each of them
// wrote (docs/spec/vm-testing.md, sections 4 and 5).

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { initramfs } from "./initramfs.ts";
import { type KernelName, kernel } from "./kernels.ts";
import { program } from "./programs.ts";

/** What a run is made of. */
export interface Boot {
  readonly kernel: KernelName;
  /** Images of file systems: the system disk first; the others are found by their labels `data` and `plain`. */
  readonly disks: readonly string[];
  /** Shell scripts by name, run in this order by root inside the system disk; one that fails does not stop the others. */
  readonly steps: Readonly<Record<string, string>>;
}

/** What a step left. 143 is the status of one that was stopped because it took too long. */
export interface StepResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a run left. */
export interface Run<Name extends string> {
  readonly steps: Readonly<Record<Name, StepResult>>;
  /** What the kernel said, all of it. */
  readonly kernelLog: string;
  /** What was on the console: the steps with the seconds since power-on. */
  readonly console: string;
}

/** A boot hangs when it takes longer than this; on two idle cores the longest takes a quarter of it. */
const TIMEOUT_MS = 450_000;

/** QEMU's exit status is 0 after a panic too: only this says that all steps ran and the disks were unmounted. */
const END = /^VM: [\d.]+ s: end\s*$/m;

/**
 * Boots, runs the steps, and waits for the end.
 *
 * @throws Error with the end of the console when the guest did not get to its own end in time
 */
export async function boot<Name extends string>({
  steps,
  ...options
}: Boot & { steps: Readonly<Record<Name, string>> }): Promise<Run<Name>> {
  const folder = mkdtempSync(join(tmpdir(), "composefs-vm-"));
  try {
    const names = Object.keys(steps) as Name[];
    const numbered = names.map((name, index): [Name, string] => [name, `${String(index).padStart(3, "0")}-${name}`]);
    const { image, modules, lateModules } = kernel(options.kernel);
    const archive = join(folder, "initramfs");
    writeFileSync(
      archive,
      initramfs([
        { path: "init", content: readFileSync(fileURLToPath(new URL("init.sh", import.meta.url))), mode: 0o755 },
        { path: "bin/busybox", content: readFileSync(program("busybox")), mode: 0o755 },
        ...modules.map((path) => ({ path: `modules/${path.split("/").at(-1)}`, content: readFileSync(path) })),
        ...lateModules.map((path) => ({ path: `late/${path.split("/").at(-1)}`, content: readFileSync(path) })),
        ...numbered.map(([name, file]) => ({ path: `steps/${file}`, content: Buffer.from(steps[name]) })),
      ]),
    );
    const results = join(folder, "results.tar");
    const port = ["-chardev", `file,id=out,path=${results}`, ...PORT];
    const log = await bootKernel({ image, archive, disks: options.disks, more: port });
    if (!END.test(log)) throw new Error(`the guest did not get to its end:\n${log.slice(-3000)}`);

    const out = mkdtempSync(join(folder, "out-"));
    execFileSync(program("tar"), ["-xmf", results, "-C", out]);
    const text = (file: string) => readFileSync(join(out, file), "utf8");
    const expected = numbered.flatMap(([, file]) => [`${file}.err`, `${file}.out`, `${file}.status`]);
    const absent = expected.filter((file) => !readdirSync(out).includes(file));
    if (absent.length > 0) throw new Error(`the guest sent no ${absent.join(", ")}:\n${log.slice(-3000)}`);
    return {
      steps: Object.fromEntries(
        numbered.map(([name, file]) => [
          name,
          { status: Number(text(`${file}.status`)), stdout: text(`${file}.out`), stderr: text(`${file}.err`) },
        ]),
      ) as Record<Name, StepResult>,
      kernelLog: text("kernel.log"),
      console: log,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a kernel is started with. */
export interface KernelBoot {
  /** Paths of the kernel and of its initramfs. */
  readonly image: string;
  readonly archive: string;
  readonly disks: readonly string[];
  readonly commandLine?: string;
  /** More arguments of QEMU. */
  readonly more?: readonly string[];
}

const PORT = "-device virtio-serial-pci -device virtserialport,chardev=out,name=out".split(" ");

/** Boots a kernel until it powers off, and gives what was on the console. */
export async function bootKernel(options: KernelBoot): Promise<string> {
  const { image, archive, disks, commandLine = "console=ttyS0 panic=-1 quiet", more = [] } = options;
  // Hardware virtualization is not asked for: a /dev/kvm that exists may have nothing behind it. Without cx16=off the
  // emulation of cmpxchg16b in QEMU 7.2 makes one boot in a dozen die.
  const machine =
    "-accel tcg,thread=multi -M q35 -cpu max,cx16=off -smp 2 -m 1024 -nodefaults -display none -no-reboot";
  const args = [
    ...machine.split(" "),
    "-serial",
    "stdio",
    "-kernel",
    image,
    "-initrd",
    archive,
    "-append",
    commandLine,
    ...disks.flatMap((disk) => ["-drive", `file=${disk},format=raw,if=virtio,cache=unsafe`]),
    ...more,
  ];
  const qemu = spawn(program("qemu-system-x86_64"), args, { stdio: ["ignore", "pipe", "pipe"] });
  const output: Buffer[] = [];
  for (const stream of [qemu.stdout, qemu.stderr]) stream.on("data", (chunk: Buffer) => output.push(chunk));
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    qemu.kill("SIGKILL");
  }, TIMEOUT_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      qemu.once("error", reject);
      qemu.once("close", () => resolve());
    });
  } finally {
    clearTimeout(timer);
  }
  const log = Buffer.concat(output).toString("latin1");
  return late ? `${log}\n(stopped after ${TIMEOUT_MS / 1000} s)` : log;
}
