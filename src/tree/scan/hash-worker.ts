// The worker thread that computes the digests of scanned files and keeps nothing of them.

import { workerData } from "node:worker_threads";
import type { Algorithm } from "../../bytes/algorithm.ts";
import { type BackendChoice, chooseBackend } from "../../core/backend.ts";
import { contentDigests } from "./content.ts";
import { serveFiles } from "./serve-files.ts";

/** What the worker is given at its start. */
export interface HashWorkerData {
  readonly algorithms: readonly Algorithm[];
  readonly choice: BackendChoice;
}

const { algorithms, choice } = workerData as HashWorkerData;
chooseBackend(choice);
serveFiles((fd, size, check) => contentDigests(fd, size, algorithms, check));
