/**
 * Names out of a machine are hostile: a dump, a device or a scenario may hold any characters. Everything that is drawn or listed passes
 * through `clean`, so that no terminal is steered, no line is reordered and no XML is broken. (Unicode 15, general categories.)
 */

/** Longer text is cut before it is looked at: no name needs more. */
const LOOKED_AT = 4096

// ECMA-48 control sequences: CSI, OSC and other strings up to their terminator, and two-character escapes.
const ESCAPES =
  /\u001b\[[0-?]*[ -/]*[@-~]?|\u009b[0-?]*[ -/]*[@-~]?|\u001b\][^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|\u001b[PX^_][^\u001b\u009c]*(?:\u001b\\|\u009c)?|\u001b[ -/]*[0-~]?/g

// Marks that stack on other characters, and format characters: bidirectional overrides, zero-width joiners, byte order marks.
const INVISIBLE = /[\p{Mn}\p{Me}\p{Mc}\p{Cf}]/gu

// What is left of the controls, lone surrogates, private use and noncharacters.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Co}\p{Cn}]/gu

// Printable ASCII with single blanks inside.
const PLAIN_WORDS = /^[!-~]+(?: [!-~]+)*$/
// All characters are narrow: whatever stands below the first wide one, lines and arrows included.
const NARROW = /^[\u0000-\u10ff\u2010-\u2319\u2500-\u25fc]*$/

/**
 * Text that prints as it looks: no escapes, no control or invisible characters, blanks only of one kind, at most `limit` columns.
 * @example clean('\u001b[31mnic\u001b[0m\n') // 'nic'
 */
export function clean(text: string, limit = 200): string {
  // Nearly all names: nothing to clean, and a column for each character.
  if (PLAIN_WORDS.test(text)) return text.length <= limit ? text : cut(text, limit)
  const printable = text
    .slice(0, LOOKED_AT)
    .replace(ESCAPES, '')
    .replace(/[\s\p{Z}]+/gu, ' ')
    .normalize('NFC')
    .replace(INVISIBLE, '')
    .replace(UNPRINTABLE, '?')
    .trim()
  return cut(printable, limit)
}

// East Asian Width W and F (Unicode TR 11), in ranges; emoji are asked for by property.
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}\p{Emoji_Presentation}]/u

/** Columns that one character (code point) takes in a terminal: 1 or 2. Combining ones do not get past `clean`. */
export function charColumns(char: string): number {
  return char < '\u1100' ? 1 : WIDE.test(char) ? 2 : 1
}

/** Columns that cleaned text takes in a terminal. */
export function columns(text: string): number {
  if (NARROW.test(text)) return text.length
  let count = 0
  for (const char of text) count += charColumns(char)
  return count
}

/** At most `limit` columns of the text; where something is left out, it ends in `mark`. */
export function cut(text: string, limit: number, mark = '…'): string {
  if (columns(text) <= limit) return text
  if (limit < mark.length) return mark.slice(0, Math.max(0, limit))
  let kept = ''
  let count = 0
  for (const char of text) {
    const wide = charColumns(char)
    if (count + wide > limit - mark.length) break
    kept += char
    count += wide
  }
  return `${kept.trimEnd()}${mark}`
}

/** Text filled with blanks to a number of columns; longer text is cut. */
export function pad(text: string, width: number): string {
  const fitted = cut(text, width)
  return fitted + ' '.repeat(Math.max(0, width - columns(fitted)))
}

const PLAIN: Readonly<Record<string, string>> = {
  '→': '->',
  '…': '...',
  '×': 'x',
  '·': '|',
  '≥': '>=',
  '–': '-',
  '—': '-',
  '↑': '^',
}

/** The text in ASCII; characters without a likeness become `?`. */
export function ascii(text: string): string {
  let out = ''
  for (const char of text) out += char <= '~' ? char : (PLAIN[char] ?? '?')
  return out
}

/** Text in the characters that an output may use, and cut to a number of columns. */
export type Say = (text: string, limit?: number) => string

/** Says cleaned text as it is, or in ASCII. */
export function speaker(plain: boolean): Say {
  return plain
    ? (text, limit = Number.POSITIVE_INFINITY) => cut(ascii(text), limit, '...')
    : (text, limit = Number.POSITIVE_INFINITY) => cut(text, limit)
}
