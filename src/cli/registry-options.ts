// How a registry is reached, for the commands that may ask one.

import type { RegistryOptions } from "../index.ts";
import type { Context, OptionSpec } from "./command.ts";
import { UsageError } from "./failure.ts";

/** `--authfile`, `--creds` and `--tls-verify`. */
export const REGISTRY_OPTIONS: readonly OptionSpec[] = [
  {
    name: "authfile",
    value: "FILE",
    description: "credentials for the registry, before those of podman and Docker",
    completes: "file",
  },
  { name: "creds", value: "USER:PASSWORD", description: "credentials for the registry; other users may see them" },
  {
    name: "tls-verify",
    value: "true|false",
    description: "false: accept any certificate of the registry, and plain http",
  },
];

/** What the options say. @throws UsageError */
export function registryOptions({ text }: Pick<Context, "text">): RegistryOptions {
  const creds = text("creds");
  const colon = creds?.indexOf(":") ?? 0;
  if (creds !== undefined && colon < 1) {
    throw new UsageError("option --creds takes USER:PASSWORD", "the password is everything behind the first colon");
  }
  const verify = text("tls-verify");
  if (verify !== undefined && verify !== "true" && verify !== "false") {
    throw new UsageError(`option --tls-verify takes true or false, not "${verify}"`);
  }
  return {
    authFile: text("authfile"),
    credentials:
      creds === undefined ? undefined : { username: creds.slice(0, colon), password: creds.slice(colon + 1) },
    // Without the option the host's registries.conf decides.
    tlsVerify: verify === undefined ? undefined : verify === "true",
  };
}
