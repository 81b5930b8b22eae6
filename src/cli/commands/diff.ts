// `composefs diff A B`: what differs between two trees, whatever they are

import type { DiffField, EntryChange, FieldChange } from "../../index.ts";
import { DIFF_FIELDS } from "../../tree/diff-fields.ts";
import type { Command } from "../command.ts";

export const diff: Command = {
  name: "diff",
  summary: "compare two directories, images, dumps or tags, field by field",
  description:
    "A and B are each a directory, also one that is mounted; an image file; a dump file; or, if there is no such path, an " +
    "image of the repository by its id or ref, or a container image by its tag or digest. Lines begin with + for entries that " +
    "only B has, - for those that only A has, and ~ for those that differ, with a line for each field. Directories get digests " +
    "of the hash that the other side has, else --hash or sha512. Exit status: 0 if there is no difference, 1 if there is one, 2 on trouble.",
  arguments: [
    { name: "A", description: "the first tree", completes: "file" },
    { name: "B", description: "the second tree", completes: "file" },
  ],
  options: [
    {
      name: "ignore",
      value: "FIELD",
      choices: DIFF_FIELDS,
      repeat: true,
      description: "do not compare this field",
    },
    { name: "container-root", description: "compare directories as the container roots that compute-id makes of them" },
  ],
  examples: [
    { line: "diff os.img os.dump", says: "an image with a dump" },
    { line: "diff example:v1 example:v2", says: "two tags" },
    {
      line: "diff --ignore mtime --ignore xattr ./rootfs /mnt",
      says: "two directories, but not their times and xattrs",
    },
  ],
  failureStatus: 2,
  async run(context) {
    const { args, global, out, list, flag, note, signal, progress, openRepository } = context;
    const [a = "", b = ""] = args;
    const { openTrees } = await import("../../oci/open-tree.ts");
    const { diffTrees } = await import("../../tree/diff.ts");
    const [first, second] = await openTrees(a, b, {
      openRepository,
      algorithm: global.hash,
      containerRoot: flag("container-root"),
      signal,
      onProgress: progress,
    });
    const counts = { added: 0, removed: 0, changed: 0 };
    const entries: EntryChange[] = [];
    let text = "";
    for (const entry of diffTrees(first.root, second.root, { ignore: list("ignore") as DiffField[] })) {
      counts[entry.change]++;
      if (global.json) entries.push(entry);
      else text += changeText(entry);
      if (text.length < 1 << 16) continue;
      await out.write(text);
      text = "";
    }
    const equal = counts.added + counts.removed + counts.changed === 0;
    if (global.json) {
      const sides = { a: { name: a, source: first.source }, b: { name: b, source: second.source } };
      await out.json({ ...sides, equal, ...counts, entries: entries.map(changeJson) });
    } else await out.write(text);
    if (!equal) note(`${counts.added} added, ${counts.removed} removed, ${counts.changed} changed`);
    return equal ? 0 : 1;
  },
};

const SIGNS = { added: "+", removed: "-", changed: "~" } as const;

/** A difference on its lines. */
export function changeText({ change, path, type, fields }: EntryChange): string {
  const slash = type === "directory" && path !== "/" ? "/" : "";
  return `${SIGNS[change]} ${path}${slash}\n${fields.map(fieldText).join("")}`;
}

function fieldText({ field, xattr, a, b }: FieldChange): string {
  return `    ${xattr === undefined ? field : `${field} ${xattr}`}: ${shown(a)} -> ${shown(b)}\n`;
}

/** Texts of any length on one line; JSON has them whole. */
function shown(text: string | undefined): string {
  if (text === undefined) return "none";
  if (text === "") return '""';
  return text.length <= 160 ? text : `${text.slice(0, 150)}... (${text.length} characters)`;
}

/** A difference for JSON. */
export function changeJson({ fields, ...entry }: EntryChange): object {
  return { ...entry, fields: fields.map(({ a, b, ...field }) => ({ ...field, a: a ?? null, b: b ?? null })) };
}
