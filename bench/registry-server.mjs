// A registry for benchmarks: serves one layout, as any name, on a port of 127.0.0.1 that it prints. Files go out as they are.
//   node bench/registry-server.mjs LAYOUT

import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const layout = process.argv[2];
const { manifests } = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
const [{ digest, mediaType }] = manifests;
const blob = (name) => join(layout, "blobs", name.replace(":", "/"));

const server = createServer((request, response) => {
  const [, kind, name = ""] = /\/(manifests|blobs)\/([^/?]+)$/.exec(request.url) ?? [];
  if (kind === undefined) {
    response.writeHead(request.url === "/v2/" ? 200 : 404).end();
    return;
  }
  const isManifest = kind === "manifests";
  const path = blob(isManifest ? digest : name);
  response.writeHead(200, {
    "content-length": statSync(path).size,
    "content-type": isManifest ? mediaType : "application/octet-stream",
    ...(isManifest ? { "docker-content-digest": digest } : {}),
  });
  if (request.method === "HEAD") response.end();
  else createReadStream(path, { highWaterMark: 1 << 20 }).pipe(response);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
