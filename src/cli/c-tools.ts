// The programs named after the C tools, which are also there as `composefs NAME ...`.

/** One of them. */
interface CTool {
  readonly summary: string;
  /** What --help prints. */
  readonly usage: () => Promise<string>;
  /** Runs it on the words of the process. */
  readonly run: () => Promise<unknown>;
}

/** Each by its name. */
export const C_TOOLS: ReadonlyMap<string, CTool> = new Map<string, CTool>([
  [
    "mkcomposefs",
    {
      summary: "make an image",
      usage: async () => (await import("./mkcomposefs-options.ts")).MKCOMPOSEFS_USAGE,
      run: async () => import("./mkcomposefs.ts"),
    },
  ],
  [
    "composefs-info",
    {
      summary: "look into images: entries, dumps, objects and which are missing; measure files",
      usage: async () => (await import("./composefs-info-options.ts")).INFO_USAGE,
      run: async () => import("./composefs-info.ts"),
    },
  ],
  [
    "composefs-dump",
    {
      summary: "read an image and write it again",
      usage: async () => (await import("./composefs-dump-usage.ts")).DUMP_USAGE,
      run: async () => import("./composefs-dump.ts"),
    },
  ],
  [
    "mount.composefs",
    {
      summary: "mount an image file",
      usage: async () => (await import("./mount-composefs-options.ts")).MOUNT_USAGE,
      run: async () => import("./mount-composefs.ts"),
    },
  ],
]);
