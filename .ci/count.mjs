// `node .ci/count.mjs EXIT-STATUS LOG REPORT`: prints "PASSED FAILED SKIPPED" of one suite; on standard error the names of
// what failed and of what was skipped (a test that misses something carries the reason in its name).
// REPORT is vitest's JSON; without it the last closing line "N passed, N failed, N skipped" of the log counts, else the status.

import { existsSync, readFileSync } from "node:fs";

const [status, log, report] = process.argv.slice(2);
const ended = Number(status);

function fromReport(path) {
  const { testResults } = JSON.parse(readFileSync(path, "utf8"));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const skips = new Set();
  for (const file of testResults) {
    for (const test of file.assertionResults) {
      if (test.status === "passed") counts.passed++;
      else if (test.status === "failed") {
        counts.failed++;
        console.error(`failed: ${test.fullName.slice(0, 300)}`);
      } else {
        counts.skipped++;
        skips.add(test.fullName.slice(0, 300));
      }
    }
    // A file that could not be loaded, or whose hooks failed, reports no failed test of its own.
    if (file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")) {
      counts.failed++;
      console.error(`failed: ${file.name.slice(-120)}: ${String(file.message).slice(0, 300)}`);
    }
  }
  for (const name of skips) if (name.includes("skipped:")) console.error(`skipped: ${name}`);
  const others = [...skips].filter((name) => !name.includes("skipped:"));
  // Cases of the data that a test says nothing about; the log has them all.
  if (others.length > 0)
    console.error(`not applicable here: ${others.length} cases, such as: ${others.slice(0, 2).join("; ")}`);
  return counts;
}

function fromLog(path) {
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
  for (const line of lines.toReversed()) {
    const found = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/.exec(line.trim());
    if (found) {
      for (const other of lines) if (/^(skipped|failed): /.test(other)) console.error(other);
      return { passed: Number(found[1]), failed: Number(found[2]), skipped: Number(found[3] ?? 0) };
    }
  }
  return undefined;
}

const counts = (report && existsSync(report) ? fromReport(report) : undefined) ??
  fromLog(log) ?? { passed: ended === 0 ? 1 : 0, failed: 0, skipped: 0 };
if (ended !== 0 && counts.failed === 0) counts.failed = 1;
if (counts.passed + counts.failed + counts.skipped === 0) {
  console.error("failed: the suite ran no test");
  counts.failed = 1;
}
console.log(`${counts.passed} ${counts.failed} ${counts.skipped}`);
