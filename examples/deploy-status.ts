// Says what a machine runs and what it could run, and whether an update is known: the running system, or a sysroot that is named.
//
//   deploy-status [SYSROOT [ESP]]

import { findSysroot, type HostEntry, hostStatus, readSysroot, warningText } from "composefs";

const [sysroot, esp] = process.argv.slice(2);
const location = findSysroot({ sysroot, esp });
const { host, warnings } = hostStatus(location && (await readSysroot(location)));

const { booted, staged, rollback, otherDeployments = [], rollbackQueued } = host.status;
const show = (part: string, entry: HostEntry | null) => {
  if (!entry) return;
  const { image, cachedUpdate, composefs } = entry;
  const name = image ? `${image.image.image} ${image.version ?? image.imageDigest}` : composefs.verity;
  const update = cachedUpdate && cachedUpdate.imageDigest !== image?.imageDigest ? ", an update is there" : "";
  console.log(`${part}: ${name}${update}`);
};

if (!location) console.log("this machine runs no deployment");
show("booted", booted);
show(staged?.downloadOnly ? "downloaded" : "next", staged);
show(rollbackQueued ? "next (rolled back)" : "rollback", rollback);
for (const entry of otherDeployments) show("other", entry);
for (const warning of warnings) console.error(warningText(warning));
