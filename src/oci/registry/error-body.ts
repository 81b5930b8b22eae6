// The body of an error of the registry protocol (docs/spec/oci.md, section 3.1), which may as well be HTML, or nothing.

import type { HttpResponse } from "./http.ts";

/** Bytes of it that are read. */
const MAX_ERROR_BODY = 64 << 10;

/** What the body of an error says: codes and messages of the protocol; empty where it is anything else. Never throws. */
export async function errorText(response: HttpResponse): Promise<string> {
  return errorTextOf(response, ({ errors }) => {
    if (!Array.isArray(errors)) return "";
    return errors
      .slice(0, 3)
      .map((one: unknown) => {
        const { code, message } = (one ?? {}) as { code?: unknown; message?: unknown };
        return [code, message].filter((text) => typeof text === "string" && text !== "").join(": ");
      })
      .filter((text) => text !== "")
      .join("; ");
  });
}

/**
 * The same for other protocols whose errors are JSON objects.
 *
 * @param say picks the text out of the object
 */
export async function errorTextOf(
  response: HttpResponse,
  say: (document: Readonly<Record<string, unknown>>) => string,
): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_ERROR_BODY) break;
    }
    const text = say(JSON.parse(Buffer.concat(chunks).toString("utf8")) as Record<string, unknown>);
    return text.replace(/[^\x20-\x7e]+/g, " ").slice(0, 300);
  } catch {
    return "";
  }
}
