// Pulls an image into a repository and says what its files are. The README shows this program; a test compiles it
// against the packed package.

import { ComposefsError, initRepository, imageTree, Leaf, pull, Repository } from "composefs";

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());

await initRepository("./images", { insecure: true, ensure: true });
await using repository = await Repository.open("./images", { write: true });
try {
  const { tag, images } = await pull(repository, "oci:./layout:v1", {
    signal: stop.signal,
    onProgress: (event) => event.type === "done" && console.error("done:", event.id),
  });
  console.log(tag, images[0]?.id);

  const root = await imageTree(repository, tag);
  for (const [name, node] of root.entries) console.log(name, node instanceof Leaf ? node.content.kind : "directory");
} catch (error) {
  if (!(error instanceof ComposefsError)) throw error;
  console.error(`${error.code}: ${error.message}`, error.hint ?? "");
  process.exitCode = 1;
}
