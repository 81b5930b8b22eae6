// Images of a Docker engine, `docker-daemon:` (docs/spec/oci.md, section 2.1): the engine hands them out as archives of docker save.

import { ComposefsError } from "../../error.ts";
import type { ProgressListener } from "../../progress.ts";
import { parseRegistryName } from "../reference.ts";
import { DockerArchiveSource } from "./docker-archive.ts";
import { DockerEngine } from "./docker-engine.ts";
import { TarIndex } from "./tar-index.ts";

/**
 * Gets an image from the engine that `DOCKER_HOST` names, or from the one on this machine.
 *
 * @param name `NAME[:TAG]`, `NAME@DIGEST` or the image's id, `sha256:HEX`
 * @throws ComposefsError `invalid` for a bad name, `not-found` when there is no engine or no such image, `permission`, `io`
 */
export async function openDaemonImage(
  name: string,
  options: {
    signal?: AbortSignal | undefined;
    onProgress?: ProgressListener | undefined;
    /** The environment; the process's when left out. */
    env?: Readonly<Record<string, string | undefined>>;
  } = {},
): Promise<DockerArchiveSource> {
  const { signal, onProgress, env = process.env } = options;
  const image = imageName(name);
  const engine = await DockerEngine.connect(env, signal);
  try {
    const id = `docker-daemon:${image}`;
    onProgress?.({ type: "start", id, kind: "copy", label: `${image} from the Docker engine` });
    const bytes = counted(engine.save(image, signal), (done) => onProgress?.({ type: "advance", id, done }));
    const archive = await TarIndex.ofStream(bytes, `the archive of ${image} from ${engine.name}`, signal);
    onProgress?.({ type: "done", id });
    return await DockerArchiveSource.of(archive, undefined, "docker-daemon");
  } finally {
    engine.close();
  }
}

async function* counted(chunks: AsyncIterable<Uint8Array>, report: (done: number) => void): AsyncIterable<Uint8Array> {
  let done = 0;
  for await (const chunk of chunks) {
    done += chunk.length;
    report(done);
    yield chunk;
  }
}

function imageName(name: string): string {
  if (/^sha256:[0-9a-f]{64}$/.test(name)) return name;
  const text = `docker-daemon:${name}`;
  if (name.startsWith("sha256:")) {
    throw new ComposefsError("invalid", `image reference ${JSON.stringify(text)}: this is no id of an image`, {
      hint: "an id is sha256: and 64 hex digits, as `docker images --no-trunc` prints them; or write NAME:TAG",
    });
  }
  // The name as it is, since engines complete short names differently; checked, since it becomes part of a URL.
  const { tag, digest } = parseRegistryName(name, text);
  return tag === "latest" && digest === undefined && !name.endsWith(":latest") ? `${name}:latest` : name;
}
