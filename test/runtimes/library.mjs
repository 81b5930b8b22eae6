// Runs in each runtime, beside an installed package: the main job through `import ... from "composefs"`. Prints JSON that
// must be the same everywhere.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ComposefsError, Repository, computeImageId, fsverityDigest, initRepository, pull } from "composefs";

const [reference, repositoryPath] = process.argv.slice(2);
const result = {};

const component = readFileSync(fileURLToPath(import.meta.resolve("composefs/component")));
result.component = { magic: component.subarray(0, 4).toString("hex"), digest: fsverityDigest("sha256", component) };

const data = Buffer.alloc(1_000_003, "composefs");
result.digests = ["sha256", "sha512"].map((algorithm) => fsverityDigest(algorithm, data));

await initRepository(repositoryPath, { insecure: true });
{
  const repository = await Repository.open(repositoryPath, { write: true });
  try {
    const events = new Set();
    const pulled = await pull(repository, reference, {
      tag: "library",
      onProgress: (event) => events.add(event.type),
    });
    result.pulled = {
      manifest: pulled.manifestDigest,
      config: pulled.configDigest,
      images: pulled.images,
      tag: pulled.tag,
    };
    result.progress = events.has("start") && events.has("done");
    result.computed = await computeImageId(repository, "library");
  } finally {
    await repository.close();
  }
}

try {
  await Repository.open("no/such/repository");
  result.error = "none";
} catch (error) {
  result.error = error instanceof ComposefsError ? error.code : String(error);
}

const aborted = new AbortController();
aborted.abort();
{
  const repository = await Repository.open(repositoryPath, { write: true });
  try {
    await pull(repository, reference, { tag: "aborted", signal: aborted.signal });
    result.aborted = "no error";
  } catch (error) {
    result.aborted = error instanceof ComposefsError ? error.code : String(error);
  } finally {
    await repository.close();
  }
}

console.log(JSON.stringify(result));
