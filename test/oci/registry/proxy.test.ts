// Proxies from the environment (docs/spec/oci.md, section 3.2): for which hosts, and that a pull goes through one.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, it } from "vitest";

import { parseReference } from "../../../src/oci/reference.ts";
import { proxyFor } from "../../../src/oci/registry/proxy.ts";
import { openSource } from "../../../src/oci/source/open.ts";
import { writeLayout } from "../../fixtures/layout.ts";
import { TestRegistry } from "../../fixtures/registry.ts";
import { tar } from "../../fixtures/tar.ts";

const env = {
  HTTPS_PROXY: "http://proxy.example:3128",
  http_proxy: "plain.example:1",
  NO_PROXY: "in.example, .dot.example,h.example:5000",
};

it.each([
  ["https://h.example/", "proxy.example:3128"],
  ["http://h.example/", "plain.example:1"],
  ["https://h.example:5000/", undefined],
  ["https://in.example/", undefined],
  ["https://a.in.example/", undefined],
  ["https://nin.example/", "proxy.example:3128"],
  ["https://a.dot.example/", undefined],
  ["https://localhost:5000/", undefined],
  ["https://127.1.2.3/", undefined],
  ["https://[::1]/", undefined],
])("%s goes through %s", (url, proxy) => {
  expect(proxyFor(new URL(url), env)?.host).toBe(proxy);
});

it("a registry is read through one", async () => {
  const work = mkdtempSync(join(tmpdir(), "composefs-proxy-"));
  const { manifestDigest } = writeLayout(work, "v1", [
    { tar: tar([{ path: "usr", type: "directory" }]), compression: "gzip" },
  ]);
  await using registry = await TestRegistry.start();
  registry.load(work);
  const seen: string[] = [];
  // Both ways of asking: a tunnel, and the whole URL in the request.
  const proxy = createServer((request, response) => {
    seen.push(request.url ?? "");
    request.url = (request.url ?? "").replace(/^http:\/\/[^/]+/, "");
    void registry.handle(request, response);
  });
  proxy.on("connect", (request, client) => {
    seen.push(request.url ?? "");
    const server = connect(registry.port, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      server.pipe(client).pipe(server);
    });
    for (const socket of [server, client]) socket.on("error", () => {});
    client.on("close", () => server.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const before = { ...process.env };
  process.env["HTTP_PROXY"] = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  // Nothing listens there: https is given up, then plain http goes through the proxy.
  process.env["HTTPS_PROXY"] = "http://127.0.0.1:1";
  try {
    const reference = parseReference("docker://registry.invalid/p/os:v1");
    await using source = await openSource(reference, { registry: { tlsVerify: false, retryUnit: 1 } });
    expect((await source.resolve()).digest).toBe(manifestDigest);
    expect(seen.join(" ")).toContain("registry.invalid");
  } finally {
    for (const name of ["HTTP_PROXY", "HTTPS_PROXY"]) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
    proxy.closeAllConnections();
    proxy.close();
    rmSync(work, { recursive: true, force: true });
  }
});
