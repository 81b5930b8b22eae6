import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { ObjectMarks, ObjectSet } from "../../../src/repository/gc/object-set.ts";

const ids = (count: number, algorithm: "sha256" | "sha512" = "sha256", salt = "") =>
  Array.from({ length: count }, (_, i) => createHash(algorithm).update(`${salt}${i}`).digest("hex"));

for (const algorithm of ["sha256", "sha512"] as const)
  describe(algorithm, () => {
    test("holds exactly what was put in, sorted", () => {
      const all = ids(3000, algorithm);
      const set = ObjectSet.of(algorithm, [...all, ...all.slice(0, 10)]);
      expect(set.size).toBe(3000);
      expect([...set]).toEqual(all.toSorted());
      for (const id of all) expect(set.has(id)).toBe(true);
      for (const id of ids(1000, algorithm, "other")) expect(set.has(id)).toBe(false);
    });

    test("finds ids that differ in their last or first digit only", () => {
      const base = "a".repeat(algorithm === "sha256" ? 63 : 127);
      const some = ["0", "5", "f"].flatMap((digit) => [base + digit, digit + base]);
      const set = ObjectSet.of(algorithm, some);
      for (const id of some) expect(set.has(id)).toBe(true);
      for (const digit of "123467e") expect(set.has(base + digit) || set.has(digit + base)).toBe(false);
    });

    test("marks", () => {
      const all = ids(500, algorithm).toSorted();
      const marks = new ObjectMarks(ObjectSet.of(algorithm, all));
      const [other] = ids(1, algorithm, "other") as [string];
      const live = all.filter((_, i) => i % 3 === 0);
      marks.addLines(
        Buffer.from(
          [...live, other]
            .toSorted()
            .map((id) => `${id}\n`)
            .join(""),
        ),
      );
      marks.addDigests(Buffer.from(live.slice(0, 3).join("") + other, "hex"));
      marks.add(live[0] as string);
      marks.add(other);
      expect([...marks.marked()]).toEqual(live);
      expect([...marks.unmarked()]).toEqual(all.filter((_, i) => i % 3 !== 0));
      expect([...marks.missing]).toEqual([other]);
      expect(marks.has(live[1] as string)).toBe(true);
      expect(marks.has(all[1] as string)).toBe(false);
      expect(marks.has(other)).toBe(true);
    });
  });

test("many ids with the same beginning are sorted and found, too", () => {
  const some = ids(5000).map((id) => `${"0".repeat(16)}${id.slice(16)}`);
  const set = ObjectSet.of("sha256", some);
  expect([...set]).toEqual(some.toSorted());
  expect(some.every((id) => set.has(id))).toBe(true);
  expect(set.has(`${"0".repeat(63)}1`)).toBe(false);
});

test("what is no id is not there, and marking it harms nothing", () => {
  const set = ObjectSet.of("sha256", ids(10));
  for (const text of [
    "",
    "a",
    "zz",
    "0".repeat(63),
    "0".repeat(65),
    "G".repeat(64),
    "é".repeat(64),
    "ı".repeat(64),
    "A".repeat(64),
    "0".repeat(128),
  ]) {
    expect(set.has(text), text).toBe(false);
    const marks = new ObjectMarks(set);
    marks.add(text);
    expect([...marks.marked()]).toEqual([]);
  }
  expect([...new ObjectMarks(new ObjectSet("sha256")).unmarked()]).toEqual([]);
});
