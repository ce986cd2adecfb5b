/** The lines that parsers look at: the present one and some that follow, so that a message over several lines is found together. */
import type { LogLine } from './lines.ts'

/** So many lines after the first can belong to one message, others' lines between them included. */
export const LOOKAHEAD = 24

/** A message of one or more lines. */
export interface Message {
  readonly match: RegExpExecArray
  readonly text: string
  /** How many lines it is put together from. */
  readonly parts: number
}

// What the rest of a wrapped message does not look like: words of a driver, its device and a colon, or the tag of an IOMMU's driver.
const BEGINS =
  /^(?:DMAR|DMAR-IR|AMD-Vi|IOMMU|INTR-REMAP|SMMUv?\d?|iommu|vtd_\w+)\b|^\[VT-D\]|^[\w.-]+ [\w.:-]+: |^[\w-]+: \d+ callbacks suppressed|^[\w.-]*qemu[\w.-]*(?:\[\d+\])?: /

/** Whether a message begins with this line, as far as one can see. */
function begins(line: LogLine): boolean {
  return line.stamped || BEGINS.test(line.text)
}

export class LineFeed {
  private readonly window: LogLine[]

  /** @param window the present line first; the parser marks the ones that it uses. */
  constructor(window: LogLine[]) {
    this.window = window
  }

  get line(): LogLine {
    return this.window[0]!
  }

  /** The line that comes `distance` later; null behind the end. */
  peek(distance: number): LogLine | null {
    return this.window[distance] ?? null
  }

  /**
   * A message that may be wrapped: the text from the present line on, with as many further lines as it takes to match `whole`.
   * @param continues lines that belong to it even though they look like messages of their own (old forms in two lines). Lines of
   * others between them are left out.
   */
  message(whole: RegExp, extra = 3, continues: RegExp | null = null): Message | null {
    let text = this.line.text
    const used = [this.line]
    for (let distance = 0; ; ) {
      const match = whole.exec(text)
      if (match !== null) {
        for (const line of used) line.used = true
        return { match, text, parts: used.length }
      }
      if (used.length > extra) return null
      const next = this.next(distance, continues)
      if (next === null) return null
      distance = next.distance
      used.push(next.line)
      text = joined(text, next.line)
    }
  }

  /** The rest of a message's last field, wrapped to the lines that follow it: as long as it goes on as `expected` does. */
  rest(printed: string, expected: string): string {
    let text = printed
    for (let distance = 1; distance < LOOKAHEAD; distance++) {
      const line = this.peek(distance)
      if (line === null || text.length >= expected.length || !expected.startsWith(text)) return text
      if (line.used) continue
      const longer = `${text} ${line.text}`
      const goesOn = longer.startsWith(expected) || expected.startsWith(longer)
      if (!goesOn || line.text === '') return text
      line.used = true
      text = longer
    }
    return text
  }

  /** The next line that can continue a message. */
  private next(after: number, continues: RegExp | null): { line: LogLine; distance: number } | null {
    for (let distance = after + 1; distance < LOOKAHEAD; distance++) {
      const line = this.peek(distance)
      if (line === null) return null
      if (line.used) continue
      if (continues?.test(line.text)) return { line, distance }
      if (!begins(line) && line.text !== '') return { line, distance }
      // Of a message that is wrapped without being one of two lines, only the very next lines can be the rest.
      if (continues === null && begins(line)) return null
    }
    return null
  }
}

/** Two parts of one message. Mails encoded as quoted-printable break a line with `=`, even within a word. */
function joined(text: string, { text: rest, indented }: LogLine): string {
  if (!text.endsWith('=')) return `${text} ${rest}`
  // `fsr=` and its value on the next line.
  if (/\w=$/.test(text) && rest.startsWith('0x')) return text + rest
  return `${text.slice(0, -1)}${indented && !text.endsWith(' =') ? ' ' : ''}${rest}`
}
