// The image that a deployment was made from, by whatever it is called (docs/spec/deployments.md, sections 4.1 and 4.10).

import { ComposefsError } from "../error.ts";
import { readDeployments } from "./deployments.ts";
import type { SysrootState } from "./state.ts";
import { deploymentNotFound } from "./update.ts";

/**
 * The name by which the repository knows the image of a deployment.
 *
 * @param id of a deployment; the booted one when left out. Any other text is the name of an image already, and given back.
 * @throws ComposefsError with the reason `E_BOOTED_NOT_FOUND` when nothing is booted and no id was given; `E_DEPLOYMENT_NOT_FOUND` for
 *   what looks like an id but is none; `not-found` when the deployment does not say which image it was made from
 */
export function deploymentImage(state: SysrootState, id?: string): string {
  const { booted, staged, rollback, others } = readDeployments(state);
  const all = [booted, staged, rollback, ...others];
  const found = id === undefined ? booted : all.find((one) => one?.id === id);
  if (found?.manifestDigest !== undefined) return `@${found.manifestDigest}`;
  if (found)
    throw new ComposefsError("not-found", `nothing says from which image the deployment ${found.id} was made`, {
      digest: found.id,
      hint: "name the image by its tag; `composefs oci images` lists them",
    });
  if (id === undefined)
    throw new ComposefsError("not-found", "nothing is booted here", {
      reason: "E_BOOTED_NOT_FOUND",
      hint: "name a deployment or an image",
    });
  if (/^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(id)) throw deploymentNotFound(id);
  return id;
}
