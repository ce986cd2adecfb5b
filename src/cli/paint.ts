/** Colours and line breaks for the terminal. */

export interface Painter {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  bad(text: string): string
  /** What an entry decided. */
  result(text: string): string
  address(text: string): string
}

const plain = (text: string) => text
/** No colours. */
export const PLAIN: Painter = { bold: plain, dim: plain, good: plain, bad: plain, result: plain, address: plain }

const sgr = (code: number) => (text: string) => `\u001b[${code}m${text}\u001b[0m`
/** ANSI colours that are readable on dark and light backgrounds. */
export const COLOURS: Painter = { bold: sgr(1), dim: sgr(2), good: sgr(32), bad: sgr(31), result: sgr(36), address: sgr(33) }

/** Columns of a line: those of the terminal, and never so many that lines are hard to read. */
const WIDEST = 100
const NARROWEST = 40

/** Words of a text in lines that fit, indented; continued lines two further, or as far as `hanging` says. */
export function wrapped(text: string, indent: number, paint: (line: string) => string = plain, hanging = 2): string[] {
  const columns = Math.max(NARROWEST, Math.min(WIDEST, process.stdout.columns ?? WIDEST))
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    const margin = indent + (lines.length > 0 ? hanging : 0)
    if (line !== '' && margin + line.length + 1 + word.length > columns) {
      lines.push(' '.repeat(margin) + paint(line))
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  lines.push(' '.repeat(indent + (lines.length > 0 ? hanging : 0)) + paint(line))
  return lines
}
