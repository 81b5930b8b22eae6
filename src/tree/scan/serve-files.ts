// The worker's side of a scan: batches of open files in, digests out (see file-pool.ts).

import type { ObjectId } from "../../bytes/algorithm.ts";
import { systemError } from "../../error.ts";
import { scanCalls } from "../../runtime/scan-calls.ts";
import { serveRequests } from "../../runtime/workers.ts";
import { changedError } from "./content.ts";
import { type BatchResult, type FileBatch, timeStamp } from "./file-pool.ts";

/** Serves batches with what is done with one file; call it once in the entry of a worker. */
export function serveFiles(work: (fd: number, size: number) => ObjectId[]): void {
  const calls = scanCalls();
  serveRequests((request): BatchResult => {
    const { fds, sizes, stamps } = request as FileBatch;
    const digests: ObjectId[][] = [];
    try {
      fds.forEach((fd, i) => {
        const found = work(fd, sizes[i] as number);
        if (timeStamp(calls.stat(fd)) !== stamps[i]) throw changedError();
        digests.push(found);
      });
      return { digests };
    } catch (error) {
      const { code, message, hint } = systemError(error, "reading its content");
      return { digests, failure: { code, message, ...(hint === undefined ? {} : { hint }) } };
    } finally {
      for (const fd of fds) calls.close(fd);
    }
  });
}
