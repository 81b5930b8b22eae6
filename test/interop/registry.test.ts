// A real registry on the loopback, filled by skopeo: with and without TLS and passwords the same image ids as out of the layouts, and a
// second pull that fetches nothing but the manifest.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ComposefsError } from "../../src/error.ts";
import { parsePlatform } from "../../src/oci/platform.ts";
import { pull } from "../../src/oci/pull.ts";
import type { PullResult } from "../../src/oci/pull-options.ts";
import type { RegistryOptions } from "../../src/oci/registry/requests.ts";
import { Repository } from "../../src/repository/repository.ts";
import { TestRegistry } from "../fixtures/registry.ts";
import { goldensDir } from "../goldens-dir.ts";
import { openOciGoldens } from "../oci/golden-layouts.ts";
import { describeWithPeers, peer, peerOutput, runPeer } from "../peer.ts";

const { goldenImages, unpackLayout } = openOciGoldens(goldensDir("oci"));
const platform = parsePlatform("linux/amd64");
// skopeo takes the first entry of a tag, whatever its platform: of 09 that is another image. It cannot read the layout 11.
const containers = goldenImages.filter(
  ({ is_container, name }) => is_container && !["09-multiarch-flat", "11-docker-schema2"].includes(name),
);
/** The password `secret` of `ann`, as bcrypt. */
const HTPASSWD = "ann:$2b$04$wviz7zy2fy7Q73EJD41houwoWxuT0fDLKqLMg6nidoNnKqgszkv1W\n";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const KINDS = [
  { title: "plain http", tls: false, password: false },
  { title: "TLS and a password", tls: true, password: true },
];

describeWithPeers(["skopeo", "docker-registry", "openssl"], "a registry", () => {
  describe.each(KINDS)("with $title", ({ tls, password }) => {
    let work: string;
    let server: ChildProcess;
    let log = "";
    let host: string;
    let repository: Repository;
    let options: RegistryOptions;
    const creds = password ? ["--dest-creds=ann:secret"] : [];

    beforeAll(async () => {
      work = mkdtempSync(join(tmpdir(), "composefs-real-registry-"));
      host = `127.0.0.1:${await freePort()}`;
      const lines = ["version: 0.1", "log: {level: info}", "storage:", `  filesystem: {rootdirectory: ${work}/data}`];
      lines.push("http:", `  addr: ${host}`);
      if (tls) {
        const [key, cert] = [join(work, "key.pem"), join(work, "cert.pem")];
        const words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "30"];
        execFileSync(peer("openssl"), [...words, "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"], {
          stdio: "ignore",
        });
        lines.push(`  tls: {certificate: ${cert}, key: ${key}}`);
      }
      if (password) {
        writeFileSync(join(work, "htpasswd"), HTPASSWD);
        lines.push("auth:", `  htpasswd: {realm: here, path: ${work}/htpasswd}`);
      }
      writeFileSync(join(work, "config.yml"), `${lines.join("\n")}\n`);
      server = spawn(peer("docker-registry"), ["serve", join(work, "config.yml")]);
      for (const stream of [server.stdout, server.stderr]) stream?.on("data", (text) => (log += String(text)));
      const credentials = password ? { username: "ann", password: "secret" } : undefined;
      options = { tlsVerify: false, credentials };
      await Repository.init(join(work, "repository"), { algorithm: "sha256", insecure: true });
      repository = await Repository.open(join(work, "repository"), { write: true, durability: "none" });
      for (let tries = 0; tries < 100 && !log.includes("listening on"); tries++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    });
    afterAll(async () => {
      server?.kill();
      await repository?.[Symbol.asyncDispose]();
      rmSync(work, { recursive: true, force: true });
    });

    const requests = () => log.split("\n").filter((line) => line.includes('msg="response completed"'));

    it.each(containers.map((image) => ({ name: image.name, image })))("$name", async ({ image }) => {
      const layout = unpackLayout(image.layout, join(work, image.name));
      const target = `docker://${host}/golden/${image.name}:v1`;
      const words = [
        "--insecure-policy",
        "copy",
        "--quiet",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        ...creds,
      ];
      const { status, stderr } = runPeer("skopeo", [...words, `oci:${layout}:${image.tag}`, target]);
      expect(status, stderr).toBe(0);
      const result = await pull(repository, target, { tag: image.name, platform, registry: options });
      expect(result.manifestDigest).toBe(image.manifest_digest);
      expect(result.images[0]?.id).toBe(image.image_ids?.sha256["v1"]);
      // The log is written by another process.
      await new Promise((resolve) => setTimeout(resolve, 200));
      log = "";
      const again = await pull(repository, target, { tag: image.name, platform, registry: options });
      expect(again.stats.importedLayers).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, 200));
      const seen = requests().map((line) => /http\.request\.uri="?([^" ]+)/.exec(line)?.[1]);
      expect(seen.length).toBeGreaterThan(0);
      expect(seen.filter((uri) => uri !== "/v2/" && uri?.includes("/manifests/") !== true)).toEqual([]);
    });

    /** A pull into a repository that has nothing yet, so that every layer is read. */
    async function pulledAfresh(target: string): Promise<PullResult> {
      const path = mkdtempSync(join(work, "fresh-"));
      await Repository.init(path, { algorithm: "sha256", insecure: true });
      await using fresh = await Repository.open(path, { write: true, durability: "none" });
      const result = await pull(fresh, target, { tag: "t", platform, registry: options });
      expect(result.stats.importedLayers).toBeGreaterThan(0);
      return result;
    }

    it("as Docker's schema 2", async () => {
      const [image] = containers;
      const target = `docker://${host}/golden/docker:v1`;
      const words = ["--insecure-policy", "copy", "--quiet", "--format=v2s2", "--dest-tls-verify=false", ...creds];
      const { status, stderr } = runPeer("skopeo", [
        ...words,
        `oci:${join(work, image?.name ?? "", image?.name ?? "")}:${image?.tag}`,
        target,
      ]);
      expect(status, stderr).toBe(0);
      const result = await pulledAfresh(target);
      expect(result.sourceManifestDigest).toBeDefined();
      expect(result.images[0]?.id).toBe(image?.image_ids?.sha256["v1"]);
    });

    it.each(["gzip", "zstd", "zstd:chunked"])(
      "with %s layers, which have another manifest and the same image",
      async (format) => {
        const [image] = containers;
        const target = `docker://${host}/golden/${format.replace(":", "-")}:v1`;
        const words = ["--insecure-policy", "copy", "--quiet", `--dest-compress-format=${format}`];
        const { status, stderr } = runPeer("skopeo", [
          ...words,
          "--dest-compress",
          "--dest-tls-verify=false",
          ...creds,
          `oci:${join(work, image?.name ?? "", image?.name ?? "")}:${image?.tag}`,
          target,
        ]);
        expect(status, stderr).toBe(0);
        const result = await pulledAfresh(target);
        expect(result.images[0]?.id).toBe(image?.image_ids?.sha256["v1"]);
      },
    );

    describeWithPeers(["podman"], "filled by podman", () => {
      it.each(["oci", "v2s2"])("in the form %s", async (format) => {
        const [image] = containers;
        // It takes no long paths.
        const folder = mkdtempSync(join(tmpdir(), "podman-"));
        const store = ["--root", join(folder, "root"), "--runroot", join(folder, "run"), "--storage-driver", "vfs"];
        // It makes the image's name of the path, which must be lower case for that.
        const lower = join(tmpdir(), `podman-${randomBytes(6).toString("hex")}`);
        cpSync(join(work, image?.name ?? "", image?.name ?? ""), lower, { recursive: true });
        const layout = `oci:${lower}:${image?.tag}`;
        const target = `docker://${host}/golden/podman-${format}:v1`;
        const words = ["push", "-q", "--tls-verify=false", `--format=${format}`];
        try {
          const id = peerOutput("podman", [...store, "pull", "-q", layout]).trim();
          peerOutput("podman", [...store, ...words, ...(password ? ["--creds=ann:secret"] : []), id, target]);
        } finally {
          for (const path of [folder, lower]) rmSync(path, { recursive: true, force: true });
        }
        const result = await pulledAfresh(target);
        expect(result.sourceManifestDigest === undefined).toBe(format === "oci");
        expect(result.images[0]?.id).toBe(image?.image_ids?.sha256["v1"]);
      });
    });

    it("refuses who is not to come in, and what is not there", async () => {
      const name = `docker://${host}/golden/${containers[0]?.name}:v9`;
      await expect(pull(repository, name, { tag: "x", registry: options })).rejects.toMatchObject({
        code: "not-found",
      });
      if (password) {
        const nobody = { ...options, credentials: { username: "ann", password: "wrong" } };
        await expect(pull(repository, name, { tag: "x", registry: nobody })).rejects.toMatchObject({
          code: "permission",
        });
      }
      if (!tls) return;
      const strict = { ...options, tlsVerify: true };
      const error: unknown = await pull(repository, name, { tag: "x", registry: strict }).catch((e: unknown) => e);
      expect((error as ComposefsError).hint).toContain("certs.d");
    });

    if (tls)
      it("trusts the certificate in certs.d", async () => {
        const home = process.env["HOME"];
        process.env["HOME"] = join(work, "home");
        try {
          const folder = join(work, "home/.config/containers/certs.d", host);
          mkdirSync(folder, { recursive: true });
          writeFileSync(join(folder, "ca.crt"), readFileSync(join(work, "cert.pem")));
          const auth = join(work, "auth.json");
          const value = Buffer.from("ann:secret").toString("base64");
          writeFileSync(auth, JSON.stringify({ auths: { [`${host}/golden`]: { auth: value } } }));
          const name = `docker://${host}/golden/${containers[0]?.name}:v1`;
          const result = await pull(repository, name, { tag: "trusted", platform, registry: { authFile: auth } });
          expect(result.manifestDigest).toBe(containers[0]?.manifest_digest);
        } finally {
          process.env["HOME"] = home;
        }
      });
  });
});

describeWithPeers(["openssl"], "a registry that wants to know who comes", () => {
  it("is shown the certificate of certs.d, and refuses who has none", async () => {
    const work = mkdtempSync(join(tmpdir(), "composefs-client-certificate-"));
    const home = process.env["HOME"];
    const [key, cert] = [join(work, "key.pem"), join(work, "cert.pem")];
    const words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "30"];
    execFileSync(peer("openssl"), [...words, "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"], {
      stdio: "ignore",
    });
    const [keyText, certText] = [readFileSync(key, "utf8"), readFileSync(cert, "utf8")];
    try {
      const [image] = containers;
      await using registry = await TestRegistry.start({ key: keyText, cert: certText, ca: certText });
      registry.load(unpackLayout(image?.layout ?? "", join(work, "layout")));
      await Repository.init(join(work, "repository"), { algorithm: "sha256", insecure: true });
      await using repository = await Repository.open(join(work, "repository"), { write: true, durability: "none" });
      process.env["HOME"] = work;
      const folder = join(work, ".config/containers/certs.d", registry.host);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "ca.crt"), certText);
      const pulled = () =>
        pull(repository, `docker://${registry.host}/p/os:${image?.tag}`, {
          tag: "t",
          platform,
          registry: { retryUnit: 1 },
        });
      await expect(pulled()).rejects.toMatchObject({ code: "io", message: expect.stringContaining(registry.host) });
      expect(registry.requests).toEqual([]);
      writeFileSync(join(folder, "client.cert"), certText);
      await expect(pulled()).rejects.toThrow("client.key");
      writeFileSync(join(folder, "client.key"), keyText);
      expect((await pulled()).manifestDigest).toBe(image?.manifest_digest);
    } finally {
      process.env["HOME"] = home;
      rmSync(work, { recursive: true, force: true });
    }
  });
});
