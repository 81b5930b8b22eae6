// Runs a program of the checkout as a user without privileges: the checkout and the program are bind-mounted where everybody
// may read them, in a mount namespace that ends with the program. Needs root, which is what there is to give up.

import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The user and group "nobody" of Linux. */
const NOBODY = 65534;

// $1 checkout, $2 its place, $3 program, $4 its place, $5 home; the rest are arguments of the program.
const SCRIPT = `mount --bind "$1" "$2"; mount --bind "$3" "$4"
program=$4; cd "$2"; export HOME="$5" TMPDIR="$5" DENO_DIR="$5/deno"; shift 5
exec setpriv --reuid=${NOBODY} --regid=${NOBODY} --clear-groups --no-new-privs -- "$program" "$@"`;

/**
 * Prepares a folder for unprivileged programs.
 *
 * @param checkout the checkout
 * @param folder an empty folder, which becomes readable for everybody
 * @returns where the checkout and a writable folder will be, and what makes a command line of one; or why that is not possible here
 */
export function unprivileged(checkout, folder) {
  if (process.getuid?.() !== 0) return { reason: "the whole suite runs without root already" };
  const place = join(folder, "checkout");
  const home = join(folder, "home");
  for (const path of [place, home]) mkdirSync(path, { recursive: true });
  chmodSync(folder, 0o755);
  chownSync(home, NOBODY, NOBODY);
  const wrap = (command, args) => {
    const program = join(folder, "program");
    writeFileSync(program, "");
    const namespace = ["--mount", "--propagation", "private", "sh", "-ec", SCRIPT, "sh"];
    return ["unshare", [...namespace, checkout, place, realpathSync(command), program, home, ...args]];
  };
  const [probe, args] = wrap("/usr/bin/id", ["-u"]);
  const { stdout, stderr, error } = spawnSync(probe, args, { encoding: "utf8" });
  if (stdout?.trim() !== String(NOBODY)) {
    const why = (error ?? stderr).toString().trim();
    return {
      reason: `no mount namespace, or no other user, can be had here (${why}): give the container CAP_SYS_ADMIN`,
    };
  }
  return { place, home, wrap };
}
