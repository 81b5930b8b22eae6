// Status against the goldens: document, warnings and text.

import { expect, test } from "vitest";
import { canonicalJson, type JsonValue } from "../../src/deploy/canonical-json.ts";
import { hostStatus } from "../../src/deploy/host.ts";
import { hostText } from "../../src/deploy/host-text.ts";
import type { SysrootState } from "../../src/deploy/state.ts";
import { warningText } from "../../src/deploy/warning-text.ts";
import { deployCases } from "./deploy-goldens.ts";
import { type GoldenState, sysrootState } from "./golden-state.ts";

interface Expected {
  readonly host: unknown;
  readonly warnings: unknown;
  readonly text: string;
  readonly verboseText: string;
}

test.each(deployCases<GoldenState, Expected>("status"))("golden: $name", ({ input, expect: expected }) => {
  const { host, warnings } = hostStatus(sysrootState(input));
  expect({
    host: JSON.parse(JSON.stringify(host)) as unknown,
    warnings: JSON.parse(JSON.stringify(warnings)) as unknown,
    text: hostText(host),
    verboseText: hostText(host, { verbose: true }),
  }).toEqual(expected);
});

test("signature, overlay, cached update and a pinned deployment have their rows", () => {
  const { host } = hostStatus(
    sysrootState(deployCases<GoldenState>("status").find(({ name }) => name === "first-install")?.input as GoldenState),
  );
  const { booted } = host.status;
  if (!booted?.image) throw new Error("no booted image");
  const image = { ...booted.image, version: null, image: { ...booted.image.image, signature: { ostreeRemote: "r" } } };
  const cachedUpdate = { ...booted.image, imageDigest: "sha256:1", version: "2" };
  const changed = (entry: Partial<typeof booted>): string =>
    hostText(
      {
        ...host,
        status: {
          ...host.status,
          booted: { ...booted, ...entry },
          usrOverlay: { accessMode: "readWrite", persistence: "transient" },
        },
      },
      { verbose: true },
    );
  const lines = changed({ image, pinned: true, cachedUpdate }).split("\n");
  expect(lines.slice(3)).toEqual([
    "     Timestamp: 2025-03-01T10:00:00Z",
    "        Pinned: yes",
    " UpdateVersion: 2",
    "  UpdateDigest: sha256:1",
    "  /usr overlay: transient, read/write",
    "     Signature: ostree-remote:r",
    "   Soft-reboot: no",
    "      FsVerity: Enforced",
    "",
  ]);
  expect(changed({ cachedUpdate: { ...cachedUpdate, version: null } })).toContain("        Update: Available\n");
  expect(changed({ cachedUpdate: booted.image })).not.toContain("Update");
});

test("a member of JSON is printed even when it is null, and the two that may be missing are missing", () => {
  const state: SysrootState = {
    bootloader: "systemd",
    missingVerityAllowed: false,
    boot: { entries: [] },
    state: new Map(),
    images: new Map(),
  };
  const { host, warnings } = hostStatus(state);
  expect(canonicalJson(host as unknown as JsonValue)).toBe(
    '{"apiVersion":"org.containers.bootc/v1","kind":"BootcHost","metadata":{"name":"host"},"spec":{"bootOrder":"default","image":null},"status":{"booted":null,"readOnly":false,"rollback":null,"rollbackQueued":false,"staged":null,"type":null,"usrOverlay":null}}',
  );
  expect(hostText(host)).toBe("System is not deployed via bootc.\n");
  expect(warnings).toEqual([]);
});

test("no text of an image or a file name reaches a terminal as a command", () => {
  const input = deployCases<GoldenState>("status").find(({ name }) => name === "first-install")?.input as GoldenState;
  const { host } = hostStatus(sysrootState(input));
  const { booted } = host.status;
  if (!booted?.image) throw new Error("no booted image");
  const image = { ...booted.image, version: "1\u001b[2J", image: { ...booted.image.image, image: "os\nfake" } };
  const text = hostText({ ...host, status: { ...host.status, booted: { ...booted, image } } });
  expect(text).toContain("● Booted image: os\\x0afake\n");
  expect(text).toContain("Version: 1\\x1b[2J (");
  expect(warningText({ code: "W_BAD_BOOT_ENTRY", file: "a\u009b.conf", reason: "E_BLS_BOTH" })).toBe(
    "a\\x9b.conf: the boot entry cannot be used (W_BAD_BOOT_ENTRY, E_BLS_BOTH)",
  );
  expect(warningText({ code: "W_BAD_STAGED_FILE" })).toBe(
    "the staged deployment file cannot be read (W_BAD_STAGED_FILE)",
  );
});
