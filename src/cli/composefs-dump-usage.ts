// The usage text of `composefs-dump`.

/** The usage text. */
export const DUMP_USAGE = `Usage: composefs-dump [OPTIONS] SRC DEST
Reads the image SRC and writes it again to DEST, in the same version: the same bytes.
Options:
  --json                    Print what was written: id, size, version, dialect, whether it is the same
  --help                    Print this
  --version                 Print the version
Example:
  composefs-dump os.img copy.img && cmp os.img copy.img
`;
