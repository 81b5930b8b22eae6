// The kernel command line of a sealed image (docs/spec/boot.md, section 14): kargs.d, the composefs argument, what the caller adds.

import { extendCommandLine, wordSpans } from "../boot/kargs/command-line.ts";
import { isComposefsWord, renderComposefsArgument } from "../boot/kargs/composefs-argument.ts";
import type { ObjectId } from "../bytes/algorithm.ts";
import { KARGS_DIRECTORY } from "../boot/kargs/kargs-d.ts";
import { ComposefsError } from "../error.ts";
import type { FormatVersion } from "../core/erofs.ts";

/** What is on the command line beside the image. */
export interface KernelArguments {
  /** Of the image's `kargs.d`, for its processor. */
  readonly image: string;
  /** Of the caller, in order. */
  readonly extra: readonly string[];
}

/**
 * Refuses arguments that name another image: the firmware's user would get that one.
 *
 * @throws ComposefsError `usage` for the caller's, `invalid` for the image's
 */
export function checkArguments({ image, extra }: KernelArguments): void {
  const namesImage = (line: string) =>
    wordSpans(line)
      .map(({ start, end }) => line.slice(start, end))
      .find(isComposefsWord);
  for (const argument of extra) {
    const word = namesImage(argument);
    if (word === undefined) continue;
    throw new ComposefsError("usage", `the kernel argument ${word} names an image, and so does the one that is added`, {
      hint: "leave it out: the digest of the image is computed",
    });
  }
  const word = namesImage(image);
  if (word === undefined) return;
  throw new ComposefsError("invalid", `kargs.d of the image has ${word}, which names an image`, {
    path: `/${KARGS_DIRECTORY}`,
    hint: "remove it from the image: an image cannot hold its own digest there",
  });
}

/** The command line of an image. */
export function sealedCommandLine(
  { image, extra }: KernelArguments,
  boot: { readonly version: FormatVersion; readonly digest: ObjectId; readonly insecure: boolean },
): string {
  return extra.reduce(extendCommandLine, extendCommandLine(image, renderComposefsArgument(boot)));
}
