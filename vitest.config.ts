import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/{interop,privileged,crash,runtimes}/**", "**/node_modules/**"],
          testTimeout: 60_000,
        },
      },
      { test: { name: "peers", include: ["test/interop/**/*.test.ts"], testTimeout: 600_000 } },
      { test: { name: "privileged", include: ["test/privileged/**/*.test.ts"], testTimeout: 600_000 } },
      { test: { name: "crash", include: ["test/crash/**/*.test.ts"], testTimeout: 900_000 } },
    ],
  },
});
