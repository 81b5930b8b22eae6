// The worker's side of a scan: batches of open files in, digests out (see file-pool.ts).

import type { ObjectId } from "../../bytes/algorithm.ts";
import { ComposefsError, systemError } from "../../error.ts";
import { scanCalls } from "../../runtime/scan-calls.ts";
import { serveRequests } from "../../runtime/workers.ts";
import { changedError } from "./content.ts";
import { type BatchResult, type FileBatch, timeStamp } from "./file-pool.ts";

/**
 * Serves batches with what is done with one file; call it once in the entry of a worker.
 *
 * @param work calls `check` now and then, which throws when nobody wants the results any more
 */
export function serveFiles(work: (fd: number, size: number, check: () => void) => ObjectId[]): void {
  const calls = scanCalls();
  serveRequests((request): BatchResult => {
    const { fds, sizes, stamps, cancelled } = request as FileBatch;
    const check = () => {
      if (Atomics.load(cancelled, 0) !== 0) throw new ComposefsError("aborted", "interrupted");
    };
    const digests: ObjectId[][] = [];
    try {
      fds.forEach((fd, i) => {
        check();
        const found = work(fd, sizes[i] as number, check);
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
