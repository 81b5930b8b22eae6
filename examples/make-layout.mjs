// Makes the example: an OCI layout with one tag, two platforms and three layers (gzip, zstd, uncompressed) that hold what
// images hold: programs, links, xattrs, devices, whiteouts. The same bytes every time; `layout/` is its output.
//
//   node examples/make-layout.mjs [DIRECTORY]

import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzip, zstd } from "./compress.mjs";
import { tar } from "./tar.mjs";

/** The tag of the example. */
export const TAG = "v1";

const BASE_TIME = 1_735_689_600; // 2025-01-01
const APP_TIME = 1_738_368_000; // 2025-02-01
const FIX_TIME = 1_740_787_200; // 2025-03-01

const dir = (path, mtime, mode = 0o755, more = {}) => ({ path: `${path}/`, type: "directory", mode, mtime, ...more });
const file = (path, mtime, data, mode = 0o644, more = {}) => ({
  path,
  type: "file",
  mode,
  mtime,
  data: Buffer.from(data),
  ...more,
});
const symlink = (path, mtime, link) => ({ path, type: "symlink", mode: 0o777, mtime, link });
const hardlink = (path, mtime, link, mode = 0o755) => ({ path, type: "hardlink", mode, mtime, link });

/** Bytes that look random and are the same everywhere: a linear congruential generator. */
function noise(length, seed) {
  const bytes = Buffer.alloc(length);
  for (let i = 0, state = seed >>> 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

const OS_RELEASE = `NAME="Example OS"
ID=example
VERSION_ID=1
PRETTY_NAME="Example OS 1 (made by composefs-js)"
HOME_URL="https://example.org/"
`;

const GREET = `#!/bin/sh
# Greets in the language of the program's name: greet, salut, hallo are one file.
words=/usr/share/greet/words
line=$(grep "^$(basename "$0") " "$words" || echo "greet Hello")
printf '%s, %s!\\n' "\${line#* }" "\${1:-world}"
`;

const WORDS = [
  "greet Hello",
  "salut Bonjour",
  "hallo Guten Tag",
  "hej Hej",
  "ola Olá",
  "ciao Ciao",
  "konnichiwa こんにちは",
];

const manual = (name, sections) =>
  [`.TH ${name.toUpperCase()} 1`, ...sections.flatMap((text, index) => [`.SH SECTION ${index + 1}`, text])].join("\n");

/** The base: directories, a "C library", devices, documents. */
function baseLayer() {
  const t = BASE_TIME;
  return [
    dir("usr", t),
    dir("usr/bin", t),
    dir("usr/lib", t),
    dir("usr/share", t),
    dir("usr/share/doc", t),
    dir("usr/share/doc/base", t),
    dir("etc", t),
    dir("dev", t),
    dir("home", t),
    dir("root", t, 0o700),
    dir("tmp", t, 0o1777),
    dir("var", t),
    dir("var/cache", t),
    symlink("bin", t, "usr/bin"),
    symlink("lib", t, "usr/lib"),
    { path: "dev/null", type: "char", mode: 0o666, mtime: t, device: [1, 3] },
    { path: "dev/initctl", type: "fifo", mode: 0o600, mtime: t },
    file("usr/lib/os-release", t, OS_RELEASE),
    symlink("etc/os-release", t, "../usr/lib/os-release"),
    file("etc/hostname", t, "example\n"),
    file("etc/motd", t, "This message goes away in the third layer; the tar of that layer holds a whiteout for it.\n"),
    file("usr/lib/libexample.so.1.0", t, noise(24_000, 1), 0o755),
    symlink("usr/lib/libexample.so.1", t, "libexample.so.1.0"),
    file("usr/bin/busy", t, noise(16_384, 2), 0o755),
    hardlink("usr/bin/ls", t, "usr/bin/busy"),
    hardlink("usr/bin/cat", t, "usr/bin/busy"),
    file("usr/bin/su", t, noise(4_097, 3), 0o4755),
    file("usr/share/doc/base/copyright", t, "Made for tests; do with it what you like.\n".repeat(40)),
    file("usr/share/doc/base/small", t, "64 bytes or less live inside the image, more become an object.\n"),
    file("var/cache/index", t, noise(3_000, 4)),
    file("var/cache/index.old", t, noise(2_000, 5)),
  ];
}

/** The application: hard links with three names, xattrs, a user's home, a file of holes' worth of zeros. */
function applicationLayer() {
  const t = APP_TIME;
  // VFS_CAP_REVISION_2, effective, cap_net_raw permitted.
  const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
  return [
    file("usr/bin/greet", t, GREET, 0o755),
    hardlink("usr/bin/salut", t, "usr/bin/greet"),
    hardlink("usr/bin/hallo", t, "usr/bin/greet"),
    file("usr/bin/knock", t, noise(9_000, 6), 0o755, { xattrs: { "security.capability": capability } }),
    dir("usr/share/greet", t),
    file("usr/share/greet/words", t, `${WORDS.join("\n")}\n`, 0o644, {
      xattrs: { "user.origin": Buffer.from("example") },
    }),
    file("usr/share/greet/table", t, Buffer.alloc(20_000)),
    file("usr/share/greet/logo", t, noise(12_345, 7)),
    dir("usr/share/man", t),
    dir("usr/share/man/man1", t),
    file(
      "usr/share/man/man1/greet.1",
      t,
      manual("greet", ["greet \\- say hello", "Its name chooses the language.", WORDS.join("\n")]),
    ),
    dir("home/app", t, 0o750, { uid: 1000, gid: 1000 }),
    file("home/app/.profile", t, "export GREETING=greet\n", 0o600, { uid: 1000, gid: 1000 }),
    file(
      "etc/greet.conf",
      t,
      `${["language = auto", "punctuation = !", "# every other line is a comment"].join("\n")}\n`,
    ),
  ];
}

/** A fix: one file removed, one directory replaced, one file and one link target changed. */
function fixLayer() {
  const t = FIX_TIME;
  return [
    file("etc/.wh.motd", t, "", 0o644),
    file("var/cache/.wh..wh..opq", t, "", 0o644),
    file("var/cache/index", t, noise(3_100, 8)),
    file("usr/lib/libexample.so.1.1", t, noise(24_100, 9), 0o755),
    symlink("usr/lib/libexample.so.1", t, "libexample.so.1.1"),
    file("usr/lib/.wh.libexample.so.1.0", t, "", 0o644),
  ];
}

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Every file of the layout by its path. */
export function makeLayout() {
  const files = new Map([["oci-layout", Buffer.from('{"imageLayoutVersion":"1.0.0"}')]]);
  const blob = (mediaType, bytes, more = {}) => {
    const hex = digest(bytes);
    files.set(`blobs/sha256/${hex}`, bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length, ...more };
  };
  const json = (value) => Buffer.from(JSON.stringify(value));

  const layers = [];
  const diffIds = [];
  const history = [];
  for (const { entries, compress, suffix, says, time } of [
    { entries: baseLayer(), compress: gzip, suffix: "+gzip", says: "base", time: BASE_TIME },
    { entries: applicationLayer(), compress: zstd, suffix: "+zstd", says: "application", time: APP_TIME },
    { entries: fixLayer(), compress: (bytes) => bytes, suffix: "", says: "fix", time: FIX_TIME },
  ]) {
    const archive = tar(entries);
    diffIds.push(`sha256:${digest(archive)}`);
    layers.push(blob(`application/vnd.oci.image.layer.v1.tar${suffix}`, compress(archive)));
    history.push({ created: new Date(time * 1000).toISOString(), created_by: says });
  }
  const manifests = ["amd64", "arm64"].map((architecture) => {
    const config = json({
      created: new Date(FIX_TIME * 1000).toISOString(),
      architecture,
      os: "linux",
      config: {
        Env: ["PATH=/usr/bin"],
        Entrypoint: ["/usr/bin/greet"],
        Labels: { "org.opencontainers.image.title": "example" },
      },
      rootfs: { type: "layers", diff_ids: diffIds },
      history,
    });
    const manifest = json({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: blob("application/vnd.oci.image.config.v1+json", config),
      layers,
    });
    return blob("application/vnd.oci.image.manifest.v1+json", manifest, {
      platform: { architecture, os: "linux" },
      annotations: { "org.opencontainers.image.ref.name": TAG },
    });
  });
  files.set("index.json", json({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests }));
  return files;
}

/** Writes the layout, replacing what is there. */
export function writeLayout(directory) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(join(directory, "blobs/sha256"), { recursive: true });
  for (const [path, bytes] of makeLayout()) writeFileSync(join(directory, path), bytes);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const directory = process.argv[2] ?? fileURLToPath(new URL("./layout", import.meta.url));
  writeLayout(directory);
  console.log(`wrote ${directory}`);
}
