// The worker thread of the object check; the other side of objects.ts.

import { workerData } from "node:worker_threads";
import { serveRequests } from "../../runtime/workers.ts";
import { type ObjectCheckOptions, ObjectChecker } from "./check-object.ts";

const checker = new ObjectChecker(workerData as ObjectCheckOptions);

serveRequests((digests) => checker.check(digests as Uint8Array));
