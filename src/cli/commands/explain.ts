// `composefs explain EXPECTED TREE [OTHER]`: why an image has another digest than expected

import type { Expected, Explanation } from "../../index.ts";
import type { Command, Context } from "../command.ts";
import { UsageError } from "../failure.ts";
import { changeJson, changeText } from "./diff.ts";

const LIMIT = 20;

export const explain: Command = {
  name: "explain",
  summary: "say why an image has another digest than expected",
  description:
    "EXPECTED is a digest; a UKI, a file with a kernel command line (/proc/cmdline) or a boot entry; a command line with " +
    "composefs=; or a tag whose config has the label containers.composefs.fsverity. TREE is a directory, a dump, an image file, " +
    "or an image, tag or digest of the repository. Every transform, xattr mode, format and writer is tried, then every cause that " +
    "is known to change digests. With OTHER, a tree that should have the digest, the two are compared and the differences named by " +
    "their causes. If EXPECTED is a tree itself, the two are compared. Exit status: 0 if the tree has the digest, 1 if it has not, 2 on trouble.",
  arguments: [
    {
      name: "EXPECTED",
      description: "a digest, a UKI, a command line, a boot entry, a tag; or a tree",
      completes: "file",
    },
    { name: "TREE", description: "the tree that should have it", completes: "file" },
    { name: "OTHER", optional: true, description: "a tree to compare with", completes: "file" },
  ],
  options: [
    {
      name: "limit",
      value: "N",
      description: `how many differences are printed, ${LIMIT} when left out, 0 for all; --json has all`,
    },
  ],
  examples: [
    { line: "explain /boot/EFI/Linux/6.12.efi os:latest", says: "does the UKI fit the image, and if not, why?" },
    { line: "explain /proc/cmdline ./rootfs", says: "is this directory what the machine has booted?" },
    { line: "explain 3f0c...e1 ./rootfs os:latest", says: "compare with the image that has the digest" },
    { line: "explain os:v1 os:v2", says: "why two images differ, by causes" },
  ],
  failureStatus: 2,
  async run(context) {
    const { args, global, out } = context;
    const [asked = "", tree = "", second] = args;
    const limit = limitOf(context);
    const { explainDigest } = await import("../../explain/explain-digest.ts");
    const result = await explainDigest(asked, tree, {
      openRepository: context.openRepository,
      other: second,
      limit: global.json ? undefined : limit,
      signal: context.signal,
      onProgress: context.progress,
    });
    if (global.json) await out.json(explanationJson(asked, tree, result));
    else await out.write(explanationText(asked, tree, second, result));
    const { expected, comparison } = result;
    const same = expected.length === 0 && (comparison?.first === undefined || comparison.equalAs.length > 0);
    return result.matches.length > 0 || same ? 0 : 1;
  },
};

function limitOf(context: Context): number {
  const text = context.text("limit");
  if (text === undefined) return LIMIT;
  if (!/^[0-9]{1,9}$/.test(text)) throw new UsageError(`--limit takes a number, not "${text}"`, "0 prints all");
  return text === "0" ? Infinity : Number(text);
}

function expectedText({ digest, algorithm, source }: Expected): string {
  return `expected  ${digest}  (${algorithm}, ${source === "digest" ? "as given" : `from the ${source}`})\n`;
}

function explanationText(asked: string, tree: string, second: string | undefined, result: Explanation): string {
  const { expected, matches, suspicion, tried, notTried, comparison } = result;
  let text = expected.map(expectedText).join("");
  for (const { digest, words } of matches)
    text += `${tree} has it  ${words}${expected.length > 1 ? `  ${digest}` : ""}\n`;
  if (expected.length > 0 && matches.length === 0) text += `${tree} does not have it: ${tried} ids tried\n`;
  if (matches.length === 0) for (const { what, why } of notTried) text += `  not tried: ${what} (${why})\n`;
  if (suspicion !== undefined) {
    text += `cause     it has it if ${suspicion.says} (${suspicion.id}; ${suspicion.words})\n`;
    text += `          ${suspicion.remedy}\n`;
  }
  if (comparison === undefined) {
    if (expected.length > 0 && matches.length === 0 && suspicion === undefined)
      text += "no known cause alone explains it: give a tree that has the digest as OTHER, and the two are compared\n";
    return text;
  }
  const other = second ?? asked;
  if (expected.length > 0)
    text += `${other} ${comparison.match === undefined ? "does not have it either" : `has it  ${comparison.match.words}`}\n`;
  else if (comparison.equalAs.length > 0 && comparison.first !== undefined)
    text += `${tree} and ${other} make the same image (${comparison.equalAs.map(({ words }) => words).join("; ")}), but differ as they are\n`;
  if (comparison.first === undefined) return `${text}${tree} and ${other} are the same tree (${comparison.words})\n`;
  text += `compared  ${other} -> ${tree}, ${comparison.words}\n`;
  for (const { id, says, remedy, count, first } of comparison.causes)
    text += `cause     ${says}: ${count}, first ${first} (${id})\n          ${remedy}\n`;
  const { added, removed, changed } = comparison.counts;
  text += `${added} added, ${removed} removed, ${changed} changed; the first inode that differs is ${comparison.first.path}\n`;
  text += comparison.entries.map(changeText).join("");
  const left = added + removed + changed - comparison.entries.length;
  return left > 0 ? `${text}... and ${left} more; --limit 0 prints all\n` : text;
}

function explanationJson(asked: string, tree: string, result: Explanation): object {
  const { comparison, suspicion, ...rest } = result;
  return {
    asked,
    tree,
    ...rest,
    suspicion: suspicion ?? null,
    comparison:
      comparison === undefined
        ? null
        : {
            ...comparison,
            match: comparison.match ?? null,
            first: comparison.first === undefined ? null : changeJson(comparison.first),
            entries: comparison.entries.map(changeJson),
          },
  };
}
