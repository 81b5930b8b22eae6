// The text files of a policy (docs/spec/boot.md, sections 3.1 to 3.3): which policy it is, its rules and its aliases.

import { type ByteString, utf8ByteString } from "../../bytes/byte-string.ts";
import { ComposefsError } from "../../error.ts";
import type { Rule } from "./matcher.ts";

// Unicode white space. `\s` has U+FEFF instead of U+0085.
const SPACE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const FIELD = new RegExp(`[^${SPACE}]+`, "g");
const OUTER_SPACE = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "g");

// Nearly all of it is ASCII, which is its own byte string.
const byteString = (text: string): ByteString => (/[^ -~]/.test(text) ? utf8ByteString(text) : text);

const trim = (text: string) => text.replace(OUTER_SPACE, "");

/** The name of the policy in the text of `/etc/selinux/config`; undefined when it names none. */
export function policyName(config: string): string | undefined {
  for (const line of config.split("\n")) {
    const equals = line.indexOf("=");
    if (equals >= 0 && /^selinuxtype$/i.test(trim(line.slice(0, equals)))) return trim(line.slice(equals + 1));
  }
  return undefined;
}

/** A file of a policy. */
export interface PolicyFile {
  /** Its path in the image, for messages. */
  readonly path: string;
  readonly text: string;
}

/** The fields of every line that has some and is no comment. */
function* lines({ text }: PolicyFile): Generator<{ fields: readonly string[]; line: number }> {
  let line = 0;
  for (const content of text.split("\n")) {
    line++;
    const fields = content.match(FIELD);
    if (fields !== null && !fields[0].startsWith("#")) yield { fields, line };
  }
}

/**
 * The rules of a `file_contexts` file, in their order.
 *
 * @throws ComposefsError `invalid` with the reason `selinux-missing-context`, `selinux-bad-type` or `selinux-trailing-data`
 */
export function parseFileContexts(file: PolicyFile): Rule[] {
  const rules: Rule[] = [];
  for (const { fields, line } of lines(file)) {
    const [regex = "", second] = fields;
    if (second === undefined) throw bad(file, line, "missing-context", `${quoted(regex)} has no context`);
    let type: string | undefined;
    let context: string | undefined = second;
    if (second.startsWith("-")) {
      if (!/^-[bcdpls-]$/.test(second)) {
        throw bad(file, line, "bad-type", `${quoted(second)} is no file type: they are -b -c -d -p -l -s and --`);
      }
      type = second.charAt(1);
      context = fields[2];
    }
    if (context === undefined) throw bad(file, line, "missing-context", `${quoted(regex)} has no context`);
    const rest = fields[type === undefined ? 2 : 3];
    if (rest !== undefined) throw bad(file, line, "trailing-data", `there is ${quoted(rest)} after the context`);
    rules.push({
      regex: byteString(regex),
      type,
      context: context === "<<none>>" ? undefined : byteString(context),
      file: file.path,
      line,
    });
  }
  return rules;
}

/** A line of `file_contexts.subs` or `.subs_dist`: what is at `alias` is labelled as if it were at `target`. */
export interface Alias {
  readonly alias: ByteString;
  readonly target: ByteString;
}

/**
 * The aliases of a `.subs` or `.subs_dist` file, in their order.
 *
 * @throws ComposefsError `invalid` with the reason `selinux-missing-original` or `selinux-trailing-data`
 */
export function parseAliases(file: PolicyFile): Alias[] {
  const aliases: Alias[] = [];
  for (const { fields, line } of lines(file)) {
    const [alias = "", target, rest] = fields;
    if (target === undefined) throw bad(file, line, "missing-original", `${quoted(alias)} has no second path`);
    if (rest !== undefined) throw bad(file, line, "trailing-data", `there is ${quoted(rest)} after two paths`);
    aliases.push({ alias: byteString(alias), target: byteString(target) });
  }
  return aliases;
}

function bad({ path }: PolicyFile, line: number, reason: string, problem: string): ComposefsError {
  return new ComposefsError("invalid", `${path}, line ${line}: ${problem}`, {
    path,
    line,
    reason: `selinux-${reason}`,
    hint: "a file_contexts line is `REGEX [-TYPE] CONTEXT`, a line of .subs and .subs_dist `ALIAS TARGET`",
  });
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}
