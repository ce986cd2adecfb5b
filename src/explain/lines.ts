/**
 * Lines of a log without what stands before the message: mail quotes, journald, syslog and dmesg prefixes, consoles, Xen. Long lines are
 * cut, so that memory stays bounded whatever comes in.
 */

/** A line of a log is never longer; the rest of a longer one is dropped and that is noted. */
export const LONGEST_LINE = 2048

export interface LogLine {
  /** Counted from 1. */
  readonly number: number
  /** The message: one blank between words, no control characters. */
  readonly text: string
  /** A time, a priority or `kernel:` stood before it: a line of its own, not the rest of a wrapped one. */
  readonly stamped: boolean
  readonly xen: boolean
  /** Part of it was dropped. */
  readonly cut: boolean
  /** Blanks stood before the message itself. */
  readonly indented: boolean
  /** A report already has it. */
  used: boolean
}

const MONTH_DAY = String.raw`(?:\p{L}{3,5}\.? +\d{1,2}|\d{1,2}\.? +\p{L}{3,5}\.?)`
const TIME = String.raw`\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?`

/** What can stand before a message; `stamp`: shows that a message begins here. */
const PREFIXES: readonly { readonly shape: RegExp; readonly stamp: boolean }[] = [
  // Quotes of mails, nested or not; `|` only as a quote has it.
  { shape: /^(?:>|\|(?= |$)) ?/, stamp: false },
  { shape: /^\(XEN\) ?/i, stamp: true },
  // Priorities: `<4>`, `<1,2,3>` of /dev/kmsg is not printed so.
  { shape: /^<\d{1,3}>/, stamp: true },
  // [   12.345678], [   12.345678@0], [  +0.000398], [12.345 < 0.001>], [<    0.000398>]
  { shape: /^\[ ?<? ?\+?\d{1,9}\.\d{1,9}(?:@\d+)?(?: <? ?\+?\d+\.\d+)?>? ?\](?:\[ ?[TC]\d+ ?\])?/, stamp: true },
  // Who printed it: [ T1234], [    C0]
  { shape: /^\[ ?[TC]\d{1,9} ?\]/, stamp: true },
  // [Thu Oct 22 12:34:56 2020], [Do Okt 22 12:34:56 2020], [Oct22 12:34]
  { shape: new RegExp(String.raw`^\[(?:\p{L}{2,4}\.? )?${MONTH_DAY} ${TIME}(?: \d{4})?\]`, 'u'), stamp: true },
  { shape: /^\[\p{L}{3} ?\d{1,2} \d\d:\d\d\]/u, stamp: true },
  { shape: /^\[\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\]]{0,20}\]/, stamp: true },
  // 2021-03-03T12:34:56.789+01:00, 2021/03/03 12:34:56
  { shape: /^\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)? ?/, stamp: true },
  // May 30 17:35:46, Mon Jan 1 00:00:00 2024
  { shape: new RegExp(`^(?:\\p{L}{3} )?${MONTH_DAY} (?:\\d{4} )?${TIME} (?:\\d{4} )?`, 'u'), stamp: true },
  { shape: /^\d\d:\d\d:\d\d(?:[.,]\d{1,9})? /, stamp: true },
  // Logs out of memory dumps: 0x000000000277bbfa | 1263.468579:
  { shape: /^0x[0-9a-f]{8,16} \| \d{1,9}\.\d{1,9}: /i, stamp: true },
  // Android: 01-02 03:04:05.678 0 0 E
  { shape: /^\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} +\d+ +\d+ [VDIWEF] /, stamp: true },
  // localhost kernel:
  { shape: /^(?:[\w.-]{1,64} )?kernel(?:\[\d+\])?: ?/, stamp: true },
  // dmesg -x: `kern  :err   : `; syslog: `kern.err `
  { shape: /^(?:kern|user|daemon|syslog) ?: ?\w+ ?: ?/, stamp: true },
  { shape: /^(?:kern|user|daemon)\.\w+ /, stamp: true },
  // grep -n
  { shape: /^\d{1,8}[:-](?= ?\[ ?\d| ?<\d)/, stamp: true },
]

// Escape sequences of terminals (ECMA-48), then what is left of the controls, and characters that show nothing.
const ESCAPES = /\u001b\[[0-?]*[ -/]*[@-~]?|\u001b[@-Z\\-_]?/g
const BLANKS = /[\s\p{Z}\p{Cc}\p{Cf}]+/gu

/** Text as parsers see it: without controls, with single blanks, and with the `=` that mails encode as `=3D`. */
function tidy(raw: string): string {
  return raw
    .replace(ESCAPES, '')
    .replace(BLANKS, ' ')
    .replace(/=3D(?=0x|[0-9a-f])/g, '=')
    .trim()
}

/** @returns the message, and what was before it. */
function unwrap(raw: string): Pick<LogLine, 'text' | 'stamped' | 'xen' | 'indented'> {
  let text = tidy(raw)
  let indented = /^\s/.test(raw)
  let stamped = false
  let xen = false
  for (let shorter = true; shorter; ) {
    shorter = false
    for (const { shape, stamp } of PREFIXES) {
      const length = shape.exec(text)?.[0].length ?? 0
      if (length === 0) continue
      if (stamp) stamped = true
      if (text.startsWith('(')) xen = true
      const rest = text.slice(length)
      text = rest.trimStart()
      indented = rest.length > text.length
      shorter = true
    }
  }
  return { text, stamped, xen, indented }
}

/**
 * A line without its prefixes.
 * @example stripPrefixes('> May 30 17:35:46 host kernel: [  278.999] DMAR: DRHD: handling fault status reg 3')
 */
export function stripPrefixes(raw: string): string {
  return unwrap(raw.slice(0, LONGEST_LINE)).text
}

/** Takes text in pieces, gives lines. */
export class LineSplitter {
  private rest = ''
  private dropping = false
  private count = 0
  readonly lines: LogLine[] = []

  /** Adds a piece; whole lines are appended to `lines`. */
  push(piece: string): void {
    let from = 0
    while (from < piece.length) {
      const end = piece.indexOf('\n', from)
      const stop = end < 0 ? piece.length : end
      const room = LONGEST_LINE - this.rest.length
      if (stop - from > room) this.dropping = true
      this.rest += piece.slice(from, Math.min(stop, from + Math.max(0, room)))
      if (end < 0) return
      this.flush()
      from = end + 1
    }
  }

  /** The last line, which nothing ends. */
  end(): void {
    if (this.rest !== '') this.flush()
  }

  private flush(): void {
    this.count++
    this.lines.push({ number: this.count, ...unwrap(this.rest), cut: this.dropping, used: false })
    this.rest = ''
    this.dropping = false
  }
}

/** Whether a text is rather a kernel log than anything else: a line has dmesg's time, or begins with what IOMMU drivers begin theirs with. */
export const LIKE_KERNEL_LOG = /^.{0,80}\[ *\d+\.\d{6}\] |^(DMAR|AMD-Vi|(arm-smmu|arm-smmu-v3|riscv,iommu) [\w.]+): /m
