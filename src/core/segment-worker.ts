// The worker thread of parallel.ts: takes segments of one file until none is left.

import { workerData } from "node:worker_threads";
import { serveRequests } from "../runtime/workers.ts";
import { type BackendChoice, chooseBackend } from "./backend.ts";
import { adoptCoreModules, type CoreModules } from "./load.ts";
import { hashSharedSegments, openShared, type SharedWork } from "./shared-work.ts";

/** What a worker is given at its start. */
export interface SegmentWorkerData {
  choice: BackendChoice;
  modules: CoreModules | undefined;
}

const { choice, modules } = workerData as SegmentWorkerData;
chooseBackend(choice);
if (modules !== undefined) adoptCoreModules(modules);

serveRequests((request) => {
  const work = request as SharedWork;
  using file = openShared(work);
  for (const _ of hashSharedSegments(work, file.fd));
});
