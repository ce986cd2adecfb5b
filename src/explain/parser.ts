/** What the parsers of all architectures share: they look at the feed, and add findings. */
import type { LineFeed } from './feed.ts'
import { type Finding, type LogArch, type OpenReport, type ReportKind, reportOf } from './report.ts'

/** One architecture's messages. It has state: an event may be printed in several lines, with others' lines between them. */
export interface LogParser {
  readonly arch: LogArch
  /** Takes the present line (and marks further ones as used) if it knows it. @returns whether it did. */
  take(feed: LineFeed): boolean
  /** The end of the log. */
  end?(): void
}

/** Where findings go, and facts for later ones of the same architecture. */
export class Findings {
  /** How many reports are kept; the rest is counted. */
  private readonly limit: number
  readonly list: Finding[] = []
  dropped = 0
  private readonly suppressed = new Map<LogArch, number>()

  constructor(limit: number) {
    this.limit = limit
  }

  /** `29 callbacks suppressed`: said of the next report of that architecture. */
  suppress(arch: LogArch, count: number): void {
    this.suppressed.set(arch, (this.suppressed.get(arch) ?? 0) + count)
  }

  add(arch: LogArch, line: number, report: OpenReport, more: Partial<Omit<Finding, 'arch' | 'line' | 'report'>> = {}): Finding {
    const suppressed = this.suppressed.get(arch)
    if (suppressed !== undefined) {
      report.fields.suppressed_messages = suppressed
      this.suppressed.delete(arch)
    }
    const finding: Finding = { arch, line, report, instance: null, printer: 'linux', driver: null, notes: [], ...more }
    if (this.list.length < this.limit) this.list.push(finding)
    else this.dropped++
    return finding
  }

  /** A message that has a name and nothing else. */
  other(arch: LogArch, line: number, kind: ReportKind, name: string, fields: Record<string, unknown> = {}): Finding {
    return this.add(arch, line, reportOf(kind, { name, fields }))
  }
}

/** A map that forgets its oldest entries: state by device or IOMMU must not grow with the log. */
export class Recent<Value> {
  private readonly map = new Map<string, Value>()
  private static readonly SIZE = 256

  get(key: string): Value | undefined {
    return this.map.get(key)
  }

  set(key: string, value: Value): void {
    this.map.delete(key)
    this.map.set(key, value)
    if (this.map.size > Recent.SIZE) this.map.delete(this.map.keys().next().value!)
  }

  delete(key: string): void {
    this.map.delete(key)
  }

  keys(): Iterable<string> {
    return this.map.keys()
  }

  values(): Iterable<Value> {
    return this.map.values()
  }
}

/** Names of the bits that are set, in the order of the table. */
export function flagNames(value: number, bits: readonly (readonly [string, number])[]): string[] {
  return bits.filter(([, mask]) => (value & mask) !== 0).map(([name]) => name)
}
