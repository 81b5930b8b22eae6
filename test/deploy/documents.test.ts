// The documents of a deployment against the goldens, and what must hold for any text.

import { array, assert, constantFrom, json, jsonValue, nat, property, string, tuple } from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson, type JsonValue } from "../../src/deploy/canonical-json.ts";
import { imageTime, imageVersion, parseImginfo } from "../../src/deploy/image-info.ts";
import { compactJson, memberText } from "../../src/deploy/json-text.ts";
import {
  BOOT_DIGEST,
  BOOT_TYPE,
  IMAGE_REFERENCE,
  MANIFEST_DIGEST,
  type Origin,
  type OriginEntry,
  originValue,
  parseOrigin,
  withOriginEntries,
  writeOrigin,
} from "../../src/deploy/origin.ts";
import { parseStagedMarker, writeStagedMarker } from "../../src/deploy/staged-marker.ts";
import { ComposefsError } from "../../src/error.ts";
import { deployCases, outcome } from "./deploy-goldens.ts";

function unknownOp(op: string | undefined): never {
  throw new Error(`unknown operation ${op}`);
}

describe("goldens", () => {
  type OriginInput = string | OriginEntry[] | { text: string; set: OriginEntry[] };
  const sections = (origin: Origin) => [...origin].map(([name, keys]) => [name, [...keys]]);
  test.each(deployCases<OriginInput>("origin"))("origin: $name", ({ op, input, expect: expected }) => {
    const result = outcome(() => {
      if (op === "parse") return { sections: sections(parseOrigin(input as string)) };
      if (op === "write") return { text: writeOrigin(withOriginEntries(new Map(), input as OriginEntry[])) };
      if (op !== "update") return unknownOp(op);
      const { text, set } = input as { text: string; set: OriginEntry[] };
      return { text: writeOrigin(withOriginEntries(parseOrigin(text), set)) };
    });
    expect(result).toEqual(expected);
  });

  interface GoldenMarker {
    depl_id: string;
    finalization_locked: boolean;
  }
  test.each(deployCases<string | GoldenMarker>("staged"))("staged: $name", ({ op, input, expect: expected }) => {
    const result = outcome(() => {
      if (op === "parse") {
        const { id, locked } = parseStagedMarker(input as string);
        return { depl_id: id, finalization_locked: locked };
      }
      if (op !== "write") return unknownOp(op);
      const { depl_id: id, finalization_locked: locked } = input as GoldenMarker;
      return { text: writeStagedMarker({ id, locked }) };
    });
    expect(result).toEqual(expected);
  });

  test.each(deployCases<string, Record<string, unknown>>("imginfo"))(
    "imginfo: $name",
    ({ input, expect: expected }) => {
      const { digestBasis: _, ...wanted } = expected;
      const result = outcome(() => {
        const { manifest, config, digest } = parseImginfo(input);
        return {
          imageDigest: digest,
          architecture: config.architecture,
          version: imageVersion(manifest, config) ?? null,
          timestamp: imageTime(config.created) ?? null,
          configDigest: manifest.config.digest,
          layers: manifest.layers.length,
        };
      });
      expect(result).toEqual(wanted);
    },
  );
});

describe("origin", () => {
  const char = constantFrom(
    "a",
    "B",
    "=",
    "[",
    "]",
    "#",
    ";",
    " ",
    "\t",
    "\r",
    "\n",
    "\u00a0",
    "\u0085",
    "\ufeff",
    "é",
    "💾",
  );
  const text = string({ unit: char, maxLength: 60 });

  test("a text that parses is the same after writing and parsing again", () => {
    assert(
      property(text, (input) => {
        let origin: Origin;
        try {
          origin = parseOrigin(input);
        } catch (error) {
          expect((error as ComposefsError).reason).toMatch(/^E_ORIGIN_(SECTION|SYNTAX|EMPTY_KEY)$/);
          return;
        }
        expect([...origin.values()].every((keys) => keys.size > 0)).toBe(true);
        const again = parseOrigin(writeOrigin(origin));
        expect([...again].map(([name, keys]) => [name, [...keys]])).toEqual(
          [...origin].map(([name, keys]) => [name, [...keys]]),
        );
      }),
      { numRuns: 5000 },
    );
  });

  test("a value that may be written is read back", () => {
    assert(
      property(text, (value) => {
        let written: string;
        try {
          written = writeOrigin(withOriginEntries(new Map(), [["s", "k", value]]));
        } catch (error) {
          expect((error as ComposefsError).reason).toBe("E_ORIGIN_VALUE");
          expect(/[#;\n\r]|^\s|\s$|^\u0085|\u0085$/.test(value)).toBe(true);
          return;
        }
        expect(parseOrigin(written).get("s")?.get("k")).toBe(value);
      }),
      { numRuns: 2000 },
    );
  });

  test("what a new deployment gets is found by its place", () => {
    const places = [IMAGE_REFERENCE, BOOT_TYPE, BOOT_DIGEST, MANIFEST_DIGEST];
    const origin = withOriginEntries(
      new Map(),
      places.map(([section, key]): OriginEntry => [section, key, `value of ${key}`]),
    );
    expect(places.map((place) => originValue(origin, place))).toEqual(places.map(([, key]) => `value of ${key}`));
    expect(originValue(origin, ["origin", "digest"])).toBeUndefined();
  });

  test("messages name file and line", () => {
    expect(() => parseOrigin("[a]\n\nx\n", "state/deploy/a/a.origin")).toThrow(
      'state/deploy/a/a.origin, line 3: there is neither a section nor a "="',
    );
  });

  test("keys that look like members of objects are keys", () => {
    const origin = parseOrigin("[__proto__]\nconstructor = 1\n__proto__ = 2\n");
    expect(writeOrigin(origin)).toBe("[__proto__]\nconstructor = 1\n__proto__ = 2\n");
  });

  test("a megabyte of brackets and spaces takes no time that grows with its square", () => {
    const begin = performance.now();
    expect(() => parseOrigin(`${"[".repeat(300_000)}a${"]".repeat(300_000)}\n${" ".repeat(400_000)}x`)).toThrow(
      "line 2",
    );
    expect(performance.now() - begin).toBeLessThan(5000);
  });
});

describe("staged marker", () => {
  test("a member twice is refused, however it is spelled", () => {
    for (const text of [
      '{"depl_id":"a","depl_id":"b","finalization_locked":true}',
      '{"depl_id":"a","\\u0064epl_id":"b","finalization_locked":true}',
      '{"depl_id":"a","finalization_locked":true,"finalization_locked":true}',
    ])
      expect(outcome(() => parseStagedMarker(text))).toEqual({ error: "E_STAGED_FILE" });
  });

  test("any text gives a marker or E_STAGED_FILE", () => {
    const good = '{"depl_id":"x","finalization_locked":false}';
    assert(
      property(nat(good.length), nat(3), string({ maxLength: 3 }), (at, cut, insert) => {
        const text = good.slice(0, at) + insert + good.slice(at + cut);
        const result = outcome(() => parseStagedMarker(text));
        if ("error" in result) expect(result.error).toBe("E_STAGED_FILE");
        else expect([typeof result.id, typeof result.locked]).toEqual(["string", "boolean"]);
      }),
      { numRuns: 2000 },
    );
    for (const text of ["null", "1", "\ufeff{}", "[".repeat(100_000)])
      expect(outcome(() => parseStagedMarker(text))).toEqual({ error: "E_STAGED_FILE" });
  });
});

describe("JSON as text", () => {
  test("compacting changes white space and escapes only", () => {
    expect(compactJson('{ "2" : 1.50, "1":\t1e400,"a/b":"\\u00e9\\/\\n" , "x":[ { } ] }')).toBe(
      '{"2":1.50,"1":1e400,"a/b":"é/\\n","x":[{}]}',
    );
  });

  test("what any value's text compacts to means the same", () => {
    assert(
      property(json(), nat(4), (text, indent) => {
        const pretty = JSON.stringify(JSON.parse(text), null, indent);
        expect(compactJson(pretty)).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  test("the text of a member is found at the outermost level only, the last one of several", () => {
    assert(
      property(array(tuple(constantFrom("a", "b", 'a"{'), json())), (members) => {
        const text = `{${members.map(([name, value]) => ` ${JSON.stringify(name)} : ${value} `).join(",")}}`;
        expect(memberText(text, "a")).toBe(members.findLast(([name]) => name === "a")?.[1].trim());
      }),
    );
    expect(memberText('{"x":{"a":1},"y":[{"a":2}],"z":"\\"a\\":3,"}', "a")).toBeUndefined();
    expect(memberText("[1]", "a")).toBeUndefined();
  });

  test("canonical JSON is sorted, compact and means the same", () => {
    assert(
      property(jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value as JsonValue))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(canonicalJson({ "€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\u0080": undefined, ö: [null, "<"] })).toBe(
      '{"\\r":2,"1":4,"ö":[null,"<"],"€":1,"😀":5,"\ufb33":3}',
    );
  });
});

describe("imginfo", () => {
  test("any change of a good file gives image information or E_IMGINFO", () => {
    const good = deployCases<string>("imginfo").find(({ name }) => name === "annotations")?.input ?? "";
    const piece = constantFrom(
      "",
      "{",
      "}",
      '"',
      ",",
      "null",
      "0",
      "[",
      '"config":',
      '"digest":"x",',
      "\\u0000",
      "\ufeff",
    );
    let read = 0;
    assert(
      property(nat(good.length), nat(12), piece, (at, cut, insert) => {
        const result = outcome(() => parseImginfo(good.slice(0, at) + insert + good.slice(at + cut)));
        if ("error" in result) expect(result.error).toBe("E_IMGINFO");
        else {
          read++;
          expect(result.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
          expect(typeof result.manifest.config.digest).toBe("string");
        }
      }),
      { numRuns: 3000 },
    );
    expect(read).toBeGreaterThan(20);
  });

  test("a member that is there twice, or is no object, is refused", () => {
    for (const text of ['{"config":1,"manifest":2}', '{"config":{},"config":{},"manifest":{}}', "[]", "null"])
      expect(outcome(() => parseImginfo(text))).toEqual({ error: "E_IMGINFO" });
  });
});

test("times are in UTC, with a fraction of 3, 6 or 9 digits", () => {
  const times: [string | undefined, string | undefined][] = [
    [undefined, undefined],
    ["2025-06-01T12:00:00+02:00", "2025-06-01T10:00:00Z"],
    ["2025-06-01t00:30:00.100-23:59", "2025-06-02T00:29:00.100Z"],
    ["2025-06-01 12:00:00.0000z", "2025-06-01T12:00:00Z"],
    ["2025-06-01T12:00:00.1200z", "2025-06-01T12:00:00.120Z"],
    ["2025-06-01T12:00:00.1234Z", "2025-06-01T12:00:00.123400Z"],
    ["2025-06-01T12:00:00.1234567891Z", "2025-06-01T12:00:00.123456789Z"],
    ["2025-06-01T12:00:00.0000000001Z", "2025-06-01T12:00:00Z"],
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"],
    ["2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"],
    ["2025-02-29T00:00:00Z", undefined],
    ["2025-13-01T00:00:00Z", undefined],
    ["2025-01-01T24:00:00Z", undefined],
    ["2025-01-01T00:00:00", undefined],
    ["2025-01-01", undefined],
    ["2025-01-01T00:00:00.Z", undefined],
    ["2025-01-01T00:00:00+2:00", undefined],
    [" 2025-01-01T00:00:00Z", undefined],
  ];
  expect(times.map(([created]) => imageTime(created))).toEqual(times.map(([, time]) => time));
});
