// The suites: `unit` needs Node alone; `peers`, `privileged`, `crash` and `vm` need other programs, root, or time (see CONTRIBUTING).

import { defineConfig } from "vitest/config";

function groupBy<K, T>(items: Iterable<T>, key: (item: T, index: number) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  let index = 0;
  for (const item of items) {
    const group = key(item, index++);
    const members = groups.get(group);
    if (members) members.push(item);
    else groups.set(group, [item]);
  }
  return groups;
}

// vitest's reporter prints failures with Map.groupBy, which Node 20 lacks: without this a failure there shows as a crash.
if (!("groupBy" in Map)) Object.defineProperty(Map, "groupBy", { value: groupBy, configurable: true, writable: true });

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/{interop,privileged,crash,runtimes,vm}/**", "**/node_modules/**"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "peers",
          include: ["test/interop/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 900_000,
        },
      },
      {
        // Mounts are a resource of the whole machine: one file at a time.
        test: {
          name: "privileged",
          include: ["test/privileged/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
      {
        // Random moments mean nothing when two loops fight for the same two cores: one file at a time.
        test: {
          name: "crash",
          include: ["test/crash/**/*.test.ts"],
          testTimeout: 1_500_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        // A virtual machine under emulation keeps both cores busy: one file at a time.
        test: {
          name: "vm",
          include: ["test/vm/**/*.test.ts"],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
