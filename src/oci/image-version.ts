// Which format a stored image has.

import type { ObjectId } from "../bytes/algorithm.ts";
import type { FormatVersion } from "../core/erofs.ts";
import type { Repository } from "../repository/repository.ts";

/** Whether an image is stored and has the version. Formats 0 and 1 share a key, so only these can be taken for each other. */
export function isStoredImage(
  repository: Repository,
  id: ObjectId | undefined,
  version: FormatVersion,
): id is ObjectId {
  if (id === undefined || !repository.hasObject(id)) return false;
  if (version === 2) return true;
  const object = repository.openObject(id);
  const head = object.read(0, 16);
  object.close();
  return head.length === 16 && new DataView(head.buffer, head.byteOffset).getUint32(12, true) === version;
}
