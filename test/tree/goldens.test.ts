// The recorded directories in the temporary directory, or in COMPOSEFS_TREE_DIR on another file system; see tree-goldens.ts.

import { tmpdir } from "node:os";
import { describeTreeGoldens } from "./tree-goldens.ts";

describeTreeGoldens(() => process.env["COMPOSEFS_TREE_DIR"] ?? tmpdir());
