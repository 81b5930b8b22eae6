// The worker thread that stores scanned files as objects; the other side of scan-objects.ts.

import { workerData } from "node:worker_threads";
import { serveFiles } from "../tree/scan/serve-files.ts";
import { ObjectStore, type ObjectStoreOptions } from "./object-store.ts";
import { storeFile } from "./scan-objects.ts";

const store = new ObjectStore(workerData as ObjectStoreOptions);
serveFiles((fd, size, check) => [storeFile(store, fd, size, check)]);
