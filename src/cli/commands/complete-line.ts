// `composefs __complete SHELL LINE CURSOR`: what the completion scripts call.

import type { Command } from "../command.ts";
import { complete, type RepositoryNames } from "../completion/candidates.ts";
import { shellWords } from "../completion/shell-words.ts";

export const completeLine: Command = {
  name: "__complete",
  summary: "answer a completion script",
  hidden: true,
  arguments: [
    { name: "SHELL", description: "bash, zsh or fish" },
    { name: "LINE", description: "the line being typed" },
    { name: "CURSOR", description: "the position in it" },
  ],
  options: [],
  examples: [],
  async run({ args, out }) {
    const [shell = "", line = "", cursor = ""] = args;
    const words = shellWords(line, Number(cursor)).slice(1);
    const { candidates, files } = await complete(words, namesOfRepository);
    // bash replaces only what follows the last `:` or `=` of the word.
    const current = words.at(-1) ?? "";
    const cut = shell === "bash" ? Math.max(current.lastIndexOf(":"), current.lastIndexOf("=")) + 1 : 0;
    const lines = candidates.map(({ text, description }) => `${text.slice(cut)}\t${description}`);
    await out.write([...lines, `:${files}`, ""].join("\n"));
  },
};

const namesOfRepository: RepositoryNames = async (kind, { repo, user, system }) => {
  const { encodeTag } = await import("../../oci/tag-name.ts");
  const { Repository } = await import("../../repository/repository.ts");
  const { listTags } = await import("../../oci/tags.ts");
  const { defaultRepositoryPath } = await import("../../repository/default-repository.ts");
  try {
    const path = defaultRepositoryPath({ ...(repo === undefined ? {} : { path: repo }), user, system });
    await using repository = await Repository.open(path, { noUpgrade: true });
    const tags = listTags(repository);
    if (kind === "tag") return tags.map(({ name }) => name);
    if (kind === "digest") return [...new Set(tags.map(({ manifestDigest }) => manifestDigest))];
    const refs = repository.images().map(({ name }) => name);
    return kind === "image" ? refs : tags.map(({ name }) => `refs/oci/${encodeTag(name)}`);
  } catch {
    return [];
  }
};
