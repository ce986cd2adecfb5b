/** From the text of a log to its reports: lines, without prefixes; messages, put together; one report for each event. */
import { AmdParser } from './amdvi.ts'
import { ContextReader, type LogContext } from './context.ts'
import { LineFeed, LOOKAHEAD } from './feed.ts'
import { LineSplitter, type LogLine } from './lines.ts'
import { OtherParser } from './other.ts'
import { Findings, type LogParser } from './parser.ts'
import type { Finding } from './report.ts'
import { RiscvParser } from './riscv.ts'
import { Smmuv2Parser } from './smmuv2.ts'
import { Smmuv3Parser } from './smmuv3.ts'
import { SvaParser } from './sva.ts'
import { VtdParser } from './vtd.ts'

/** A word of what the parsers know, so that most lines of a log are passed over at once. */
const TELLING =
  /DMAR|REMAP|AMD-Vi|Event logged|DTE\[|CMD|[a-z]_[A-Z]|[A-Z]_[A-Z]|mmu|MMU|dmar|vtd_|QI |PRQ|Page request|Invalid|SVA|PASID|IOPF|PRI\b|callbacks suppressed|event|[Ff]ault|cause|GFSR|FS[RY]|FAR|PAR\b|TTBR|SID|context bank|global error|priv|iova|aborted|Service Failure|command|compression|0x[0-9a-f]{8}|^[0-9a-f]{8}|queue/

/** What a driver's source prints with, and no log has: a patch or a source quoted in a mail is no message. */
const SOURCE = /%[#0-9.]*(?:l{0,2}[xdu]|h{1,2}[xdu]|s|p)\b/

/** So many reports of one log are kept. */
export const MOST_REPORTS = 20_000

/** What is in a log. */
export interface ParsedLog {
  /** In order of appearance. */
  readonly findings: readonly Finding[]
  /** Reports beyond the limit, which are only counted. */
  readonly dropped: number
  readonly lines: number
  /** What else the log tells that helps to explain. */
  readonly context: LogContext
  /** What a reader should know about the text: lines that were cut. */
  readonly notes: readonly string[]
}

/** Reads a log piece by piece: memory does not grow with it. */
export class LogReader {
  private readonly splitter = new LineSplitter()
  private readonly findings: Findings
  private readonly parsers: readonly LogParser[]
  private readonly context = new ContextReader()
  private window: LogLine[] = []
  private lines = 0
  private cutLines = 0

  constructor(limit: number = MOST_REPORTS) {
    this.findings = new Findings(limit)
    const { findings } = this
    // What is only told of (RISC-V) counts where nothing else is found: last.
    this.parsers = [
      new VtdParser(findings),
      new AmdParser(findings),
      new Smmuv2Parser(findings),
      new Smmuv3Parser(findings),
      new SvaParser(findings),
      new OtherParser(findings),
      new RiscvParser(findings),
    ]
  }

  push(text: string): void {
    this.splitter.push(text)
    this.drain(LOOKAHEAD)
  }

  end(): ParsedLog {
    this.splitter.end()
    this.drain(0)
    for (const parser of this.parsers) parser.end?.()
    const findings = this.findings.list.sort((a, b) => a.line - b.line)
    const notes =
      this.cutLines === 0
        ? []
        : [`${this.cutLines} ${this.cutLines === 1 ? 'line is' : 'lines are'} too long and were read in part`]
    return { findings, dropped: this.findings.dropped, lines: this.lines, context: this.context.context, notes }
  }

  /** Looks at the lines that are there, but for the last ones: more may belong to them. */
  private drain(keep: number): void {
    const fresh = this.splitter.lines.splice(0)
    this.window = this.window.concat(fresh)
    let at = 0
    for (; at < this.window.length - keep; at++) {
      const line = this.window[at]!
      this.lines++
      if (line.cut) this.cutLines++
      if (line.used || line.text === '') continue
      this.context.read(line.text)
      if (!TELLING.test(line.text) || SOURCE.test(line.text)) continue
      const feed = new LineFeed(this.window.slice(at, at + LOOKAHEAD))
      this.parsers.some((parser) => parser.take(feed))
    }
    this.window = this.window.slice(at)
  }
}

/**
 * The reports of a log.
 * @example parseLog('DMAR: VT-d detected Invalidation Time-out Error: SID 0').findings[0]?.report.kind // 'invalidation-timeout'
 */
export function parseLog(text: string, limit: number = MOST_REPORTS): ParsedLog {
  const reader = new LogReader(limit)
  reader.push(text)
  return reader.end()
}
