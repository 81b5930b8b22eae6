// A shell's line up to the cursor, split into words with quotes and backslashes taken away.

/** The words before the cursor, the last of which (perhaps empty) is being typed. */
export function shellWords(line: string, cursor: number): string[] {
  const words: string[] = [];
  let word = "";
  let inWord = false;
  let quote = "";
  const text = line.slice(0, cursor);
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (quote !== "") {
      if (char === quote) quote = "";
      else if (char === "\\" && quote === '"' && i + 1 < text.length) word += text.charAt(++i);
      else word += char;
    } else if (char === "'" || char === '"') {
      quote = char;
      inWord = true;
    } else if (char === "\\" && i + 1 < text.length) {
      word += text.charAt(++i);
      inWord = true;
    } else if (char === " " || char === "\t" || char === "\n") {
      if (inWord) words.push(word);
      word = "";
      inWord = false;
    } else {
      word += char;
      inWord = true;
    }
  }
  words.push(word);
  return words;
}
