// The boot image of a deployment that is there (docs/spec/deployments.md, sections 4.3 to 4.5): its `/etc` is what local changes are told
// from, its kernel arguments what an update takes away. From the repository alone.

import { repositoryBodies } from "../boot/boot-directory.ts";
import { readImageKargs } from "../boot/kargs/image-kargs.ts";
import { ComposefsError } from "../error.ts";
import { storedTree } from "../repository/stored-tree.ts";
import type { Directory } from "../tree/node.ts";
import type { OpenSysroot } from "./open-sysroot.ts";

/** The boot image of a deployment that is there. @throws ComposefsError `not-found` or `corrupt` */
export function openBaseTree({ repository }: OpenSysroot, id: string): Directory {
  try {
    return storedTree(repository, id);
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    throw new ComposefsError(error.code, `the image of the deployment ${id} cannot be read: ${error.message}`, {
      cause: error,
      digest: id,
      hint: "inherit from another deployment with --base, or from none with --base none",
    });
  }
}

/**
 * The kernel arguments that a boot image brings.
 *
 * @param architecture as the config of the image has it
 * @param what the image, for messages
 * @throws ComposefsError with the reason `E_KARGS_FILE`
 */
export async function kargsOf(
  { repository }: OpenSysroot,
  tree: Directory,
  architecture: string,
  what: string,
): Promise<string> {
  try {
    return await readImageKargs(tree, repositoryBodies(repository), architecture);
  } catch (error) {
    if (!(error instanceof ComposefsError)) throw error;
    throw new ComposefsError(error.code, `the image ${what}: ${error.message}`, {
      cause: error,
      reason: "E_KARGS_FILE",
      ...(error.path === undefined ? {} : { path: error.path }),
      ...(error.line === undefined ? {} : { line: error.line }),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}
