// Status as YAML (docs/spec/deployments.md, section 4.9): block style, every text that could be mistaken in quotes as in JSON.

import type { JsonValue } from "./canonical-json.ts";

/**
 * A value as YAML 1.2, members in their order; those that are undefined are left out. Ends in a newline.
 *
 * @example
 * ```ts
 * yamlText({ a: "1", b: ["x", { c: null }] }); // 'a: "1"\nb:\n- x\n- c: null\n'
 * ```
 */
export function yamlText(value: JsonValue): string {
  return `${block(value, "").join("\n")}\n`;
}

function block(value: JsonValue, indent: string): string[] {
  if (value === null || typeof value !== "object") return [indent + scalar(value)];
  if (isList(value)) {
    if (value.length === 0) return [`${indent}[]`];
    return value.flatMap((item) => {
      // The first line of what is in the list stands behind the dash.
      const [first = "", ...rest] = block(item, `${indent}  `);
      return [`${indent}- ${first.slice(indent.length + 2)}`, ...rest];
    });
  }
  const members = Object.entries(value).filter((member): member is [string, JsonValue] => member[1] !== undefined);
  if (members.length === 0) return [`${indent}{}`];
  return members.flatMap(([name, member]) => {
    const key = `${indent}${scalar(name)}:`;
    if (member === null || typeof member !== "object" || isEmpty(member)) {
      return [`${key} ${block(member, "").join("")}`];
    }
    return [key, ...block(member, isList(member) ? indent : `${indent}  `)];
  });
}

function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function isEmpty(value: object): boolean {
  return Object.values(value).every((member) => member === undefined);
}

const WORDS = /^(?:true|false|yes|no|on|off|y|n|null)$/i;

function scalar(value: null | boolean | number | string): string {
  if (typeof value !== "string") return String(value);
  // Neither a number nor a time, and nothing that has a meaning in YAML; a colon only inside a word.
  if (/^[A-Za-z][\w./@+-]*(?::[\w./@+-]+)*$/.test(value) && !WORDS.test(value)) return value;
  // What JSON leaves bare, but YAML does not take as it is.
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
