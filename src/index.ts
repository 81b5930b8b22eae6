// The public library: re-exports and nothing else.

export type { Algorithm, ObjectId } from "./bytes/algorithm.ts";
export type { ByteString } from "./bytes/byte-string.ts";
export { compareBytes, displayBytes, fromByteString, toByteString, utf8ByteString } from "./bytes/byte-string.ts";
export type { ErrorCode, ErrorDetails } from "./error.ts";
export { ComposefsError } from "./error.ts";
export { nearNames } from "./oci/near-names.ts";
export type { ProgressEvent, ProgressKind, ProgressListener } from "./progress.ts";
export type { Content, Node, Stat, Xattrs } from "./tree/node.ts";
export { Directory, Leaf, NO_XATTRS } from "./tree/node.ts";
