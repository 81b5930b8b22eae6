// "Did you mean": only errors come here, so only they wait for the library to load.

/** The known name that was probably meant. */
export async function nearestName(typed: string, names: Iterable<string>): Promise<string | undefined> {
  const { nearNames } = await import("../oci/near-names.ts");
  return nearNames(typed, names)[0];
}
