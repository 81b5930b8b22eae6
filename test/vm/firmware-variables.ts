// Variables of OVMF with keys of our own enrolled, so that Secure Boot is on from the first instruction: the platform's key, the key
// exchange key and the one key whose signatures it accepts, all the same certificate. The store is that of EDK II: a volume header,
// a store header, and variables one after the other (UEFI specification, "EFI_SIGNATURE_LIST"; EDK II, "AUTHENTICATED_VARIABLE_HEADER").

import { readFileSync } from "node:fs";

/** OVMF's variables before anything has been set. */
export const EMPTY_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";

const GLOBAL = guid("8be4df61-93ca-11d2-aa0d-00e098032b8c");
const SECURITY = guid("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
const X509 = guid("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
const OWNER = guid("00000000-1111-2222-3333-444444444444");
const STORE = guid("aaf32c78-947b-439a-a180-2e144ec37792");

/** Non-volatile, for boot services and the running system, written with a time: what such variables have. */
const ATTRIBUTES = 0x27;
const STORE_HEADER = 28;
const VARIABLE_HEADER = 60;

/** The variables with a certificate enrolled. */
export function variablesWithKey(certificate: string): Buffer {
  const bytes = readFileSync(EMPTY_VARIABLES);
  if (bytes.toString("latin1", 40, 44) !== "_FVH") throw new Error(`${EMPTY_VARIABLES} is no firmware volume`);
  const store = bytes.readUInt16LE(48);
  if (!bytes.subarray(store, store + 16).equals(STORE)) throw new Error(`${EMPTY_VARIABLES} has no store of variables`);
  const list = signatureList(pemToDer(readFileSync(certificate, "utf8")));
  let at = store + STORE_HEADER;
  if (bytes.readUInt16LE(at) !== 0xffff) throw new Error(`${EMPTY_VARIABLES} has variables already`);
  for (const [name, vendor] of [
    ["db", SECURITY],
    ["KEK", GLOBAL],
    ["PK", GLOBAL],
  ] as const) {
    const variable = variableOf(name, vendor, list);
    variable.copy(bytes, at);
    at += Math.ceil(variable.length / 4) * 4;
  }
  return bytes;
}

function variableOf(name: string, vendor: Buffer, data: Buffer): Buffer {
  const text = Buffer.from(`${name}\0`, "utf16le");
  const header = Buffer.alloc(VARIABLE_HEADER);
  header.writeUInt16LE(0x55aa, 0);
  // Added and not deleted.
  header.writeUInt8(0x3f, 2);
  header.writeUInt32LE(ATTRIBUTES, 4);
  // A time: 2024-01-02.
  header.writeUInt16LE(2024, 16);
  header.writeUInt8(1, 18);
  header.writeUInt8(2, 19);
  header.writeUInt32LE(text.length, 36);
  header.writeUInt32LE(data.length, 40);
  vendor.copy(header, 44);
  return Buffer.concat([header, text, data]);
}

function signatureList(certificate: Buffer): Buffer {
  const header = Buffer.alloc(28);
  X509.copy(header, 0);
  header.writeUInt32LE(28 + 16 + certificate.length, 16);
  header.writeUInt32LE(16 + certificate.length, 24);
  return Buffer.concat([header, OWNER, certificate]);
}

function pemToDer(text: string): Buffer {
  const [, base64 = ""] = /-----BEGIN CERTIFICATE-----([^-]+)-----END/.exec(text) ?? [];
  return Buffer.from(base64, "base64");
}

/** The first three groups are numbers, little endian. */
function guid(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll("-", ""), "hex");
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}
