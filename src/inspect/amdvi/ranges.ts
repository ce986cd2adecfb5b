/** Addresses that are not translated as others are: the exclusion range, and special ranges that tables map all the same. AMD IOMMU specification (48882), 2.1.2, 3.4.4. */
import { hex, size } from '../../base/hex.ts'
import { getAddress, wordsFromU64 } from '../../base/layout.ts'
import { EXCL_BASE, EXCL_LIMIT, EXT_FEATURE2 } from '../../format/amdvi/registers.ts'
import type { SpaceNode } from '../graph.ts'
import type { RegisterFile } from '../registers.ts'
import type { Findings } from '../source.ts'

interface Range {
  readonly name: string
  readonly start: bigint
  readonly end: bigint
}

/** Writes here are interrupts. */
const INTERRUPTS: Range = { name: 'the interrupt range', start: 0xfee0_0000n, end: 0xfef0_0000n }
/** Interrupts, system management, port I/O and configuration, as HyperTransport has them. */
const HYPERTRANSPORT: Range = { name: 'the HyperTransport range', start: 0xfd_0000_0000n, end: 0x100_0000_0000n }

/** What lies in special ranges. A device never reaches what is mapped there. */
export function rangeFindings(registers: RegisterFile, spaces: readonly SpaceNode[], findings: Findings): void {
  exclusion(registers, findings)
  const ranges = registers.field(EXT_FEATURE2, 'HTRangeIgnore') === 1 ? [INTERRUPTS] : [INTERRUPTS, HYPERTRANSPORT]
  const under = new Set(spaces.map(({ over }) => over))
  for (const space of spaces) {
    // What a device sends goes to stage 1, where there is one.
    if (under.has(space.id)) continue
    for (const range of ranges) {
      const bytes = space.ranges.reduce((sum, { start, end }) => sum + overlap(start, end, range), 0n)
      if (bytes === 0n) continue
      const text = `${size(bytes)} are mapped in ${range.name} (${hex(range.start)}–${hex(range.end - 1n)}): no device reaches them`
      findings.add('warning', `address space ${space.label}`, text, 'special range')
    }
  }
}

function overlap(start: bigint, end: bigint, range: Range): bigint {
  const from = start > range.start ? start : range.start
  const to = end < range.end ? end : range.end
  return to > from ? to - from : 0n
}

function exclusion(registers: RegisterFile, findings: Findings): void {
  if (registers.field(EXCL_BASE, 'ExEn') === 0) return
  const address = (name: 'EXCL_BASE' | 'EXCL_LIMIT') => {
    const field = name === 'EXCL_BASE' ? EXCL_BASE.fields.ExclusionBase : EXCL_LIMIT.fields.ExclusionLimit
    return getAddress(wordsFromU64([registers.value(name)]), field)
  }
  const who = registers.field(EXCL_BASE, 'Allow') === 1 ? 'all devices' : 'devices whose DTE.EX is 1'
  const range = `${hex(address('EXCL_BASE'))}–${hex(address('EXCL_LIMIT') + 0xfff)}`
  findings.add('warning', 'exclusion range', `${range} passes untranslated for ${who}`, 'exclusion')
}
