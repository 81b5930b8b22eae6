// A boot by UEFI firmware (docs/spec/vm-testing.md, section 12): OVMF under QEMU starts one PE file from an EFI system partition.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "vitest";
import { skipOrFail } from "../peer.ts";
import { EMPTY_VARIABLES } from "./firmware-variables.ts";

const CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const TIMEOUT_MS = 420_000;
const ESP_SIZE = 96 << 20;

/** A `describe` block that needs the firmware; without it one test that says so, skipped, or failing when CI=true. */
export function describeFirmware(title: string, body: () => void): void {
  const missing = [
    ...[CODE, EMPTY_VARIABLES].filter((path) => !existsSync(path)).map(() => "ovmf"),
    ...["mformat", "mmd", "mcopy"].filter((name) => !runs(name)).map(() => "mtools"),
  ];
  if (missing.length === 0) describe(title, body);
  else describe(title, () => skipOrFail(`no firmware: apt-get install ${[...new Set(missing)].join(" ")}`));
}

function runs(name: string): boolean {
  try {
    execFileSync(name, ["-V"], { stdio: "ignore" });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOENT";
  }
}

/**
 * Starts a PE file as the removable medium's boot loader.
 *
 * @param variables content of the firmware's variables; the machine writes into a copy
 * @param end what the console must show; the machine is stopped then, or when it powers off
 * @returns the console, without escape codes
 */
export async function bootFirmware(efi: string, variables: Buffer, end: RegExp): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "composefs-uefi-"));
  try {
    const esp = join(folder, "esp.img");
    writeFileSync(esp, "");
    truncateSync(esp, ESP_SIZE);
    execFileSync("mformat", ["-i", esp, "-F", "::"]);
    execFileSync("mmd", ["-i", esp, "::/EFI", "::/EFI/BOOT"]);
    execFileSync("mcopy", ["-i", esp, efi, "::/EFI/BOOT/BOOTX64.EFI"]);
    return await bootDisks([esp], variables, end);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Starts what the firmware finds on disks: the boot loader of the first EFI system partition.
 *
 * @param disks image files, the first one as /dev/vda
 * @param variables content of the firmware's variables; the machine writes into a copy
 * @param end what the console must show; the machine is stopped then, or when it powers off
 * @returns the console, without escape codes
 */
export async function bootDisks(disks: readonly string[], variables: Buffer, end: RegExp): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "composefs-uefi-"));
  try {
    const store = join(folder, "variables.fd");
    writeFileSync(store, variables);
    const pflash = "if=pflash,format=raw";
    // See machine.ts for cx16=off.
    const args = "-accel tcg,thread=multi -M q35 -cpu max,cx16=off -smp 2 -m 1024 -nodefaults -display none -no-reboot";
    const drives = [
      `${pflash},readonly=on,file=${CODE}`,
      `${pflash},file=${store}`,
      ...disks.map((disk) => `file=${disk},format=raw,if=virtio,cache=unsafe`),
    ].flatMap((drive) => ["-drive", drive]);
    return await runUntil([...args.split(" "), "-serial", "stdio", ...drives], end);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runUntil(args: readonly string[], end: RegExp): Promise<string> {
  const qemu = spawn("qemu-system-x86_64", args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const listen = (chunk: Buffer) => {
    output += chunk.toString("latin1");
    if (end.test(output)) qemu.kill("SIGKILL");
  };
  qemu.stdout.on("data", listen);
  qemu.stderr.on("data", listen);
  const timer = setTimeout(() => qemu.kill("SIGKILL"), TIMEOUT_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      qemu.once("error", reject);
      qemu.once("close", () => resolve());
    });
  } finally {
    clearTimeout(timer);
  }
  // oxlint-disable-next-line no-control-regex -- the firmware moves the cursor
  const text = output.replace(/\u001b\[[0-9;=?]*[A-Za-z]/g, "").replaceAll("\r", "");
  if (!end.test(text)) throw new Error(`the console never showed ${end.source}:\n${text.slice(-3000)}`);
  return text;
}
