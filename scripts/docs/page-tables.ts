/** The table of page-table formats in docs/architectures.md: what each `PtFormat` says of itself. */
import { amdV1 } from '../../src/format/pt/amd-v1.ts'
import { LARGE_AMD, LARGE_NAPOT, type PtFormat } from '../../src/format/pt/format.ts'
import { type RiscvMode, riscvScheme } from '../../src/format/pt/riscv.ts'
import { type Granule, vmsav8 } from '../../src/format/pt/vmsav8.ts'
import { vtdSecond } from '../../src/format/pt/vtd-second.ts'
import { amdV2, vtdFirst } from '../../src/format/pt/x86.ts'
import { table } from './blocks.ts'

interface Scheme {
  readonly format: PtFormat
  readonly topDepth: number
  readonly inputBits: number
}

interface Row {
  readonly of: string
  readonly stage: string
  readonly name: string
  readonly schemes: readonly Scheme[]
}

function bytesText(log2: number): string {
  const unit = Math.floor(log2 / 10)
  return `${2 ** (log2 - unit * 10)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][unit]}`
}

/** Sizes that leaves of these tables may have. */
function leafSizes({ format, topDepth }: Scheme): string {
  const depths = Array.from({ length: topDepth + 1 }, (_, depth) => depth).filter(
    (depth) => ((format.leafDepths >>> depth) & 1) === 1,
  )
  const sizes = depths.map((depth) => bytesText(format.granuleLog2 + depth * format.indexBits)).join(', ')
  if (format.large === LARGE_AMD) return `${sizes}, and every power of two between (next level 7)`
  if (format.large === LARGE_NAPOT) return `${sizes}; 64 KiB as NAPOT`
  const runs = depths.flatMap((depth) => {
    const log2 = format.contiguousLog2[depth] ?? 0
    return format.contiguousHi === 0 || log2 === 0 ? [] : [bytesText(log2)]
  })
  return runs.length === 0 ? sizes : `${sizes}; contiguous runs of ${runs.join(', ')}`
}

/** Width of the addresses that entries hold. */
function outputBits({ addressHi, addressShift, extraMask, extraShift }: PtFormat): number {
  const high = (addressHi << addressShift) | (extraMask << extraShift)
  return addressHi === 0 ? 32 + addressShift : 64 - Math.clz32(high)
}

const bit = (mask: number) => 31 - Math.clz32(mask)

/** Where hardware manages writability, what is written is clear of the dirty bit in one stage and has it in the other. */
function flags({ accessed, accessedInTables, dirty, dirtyManagedHi }: PtFormat): string {
  const dirtyText =
    dirtyManagedHi === 0
      ? `dirty: bit ${bit(dirty)}`
      : `dirty: bit ${bit(dirty)} (stage 1: clear, stage 2: set), where bit ${32 + bit(dirtyManagedHi)} lets hardware manage it`
  return `accessed: bit ${bit(accessed)}${accessedInTables ? ', in table entries too' : ''}; ${dirtyText}`
}

/** `4`, or `3 to 5`. */
function span(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  return low === high ? `${low}` : values.length === 2 ? `${low}, ${high}` : `${low} to ${high}`
}

const riscv = (...modes: readonly RiscvMode[]): Scheme[] =>
  modes.map((mode) => riscvScheme(mode, { svpbmt: true, svrsw60t59b: true }))

/** VMSAv8 tables may start at lower levels: as many as the input needs. */
function arm(granule: Granule, stage: 1 | 2, wide: boolean): Scheme {
  const inputBits = wide ? 52 : 48
  const format = vmsav8(granule, stage === 1 ? 'el1' : 'stage2', wide)
  return { format, inputBits, topDepth: Math.ceil((inputBits - granule) / format.indexBits) - 1 }
}

const armRows = ([12, 14, 16] as const).flatMap((granule) =>
  [false, true].map((wide) => {
    const scheme = arm(granule, 1, wide)
    return { of: 'Arm SMMUv3', stage: '1 and 2', name: scheme.format.name.replace(' stage 1', ''), schemes: [scheme] }
  }),
)

const ROWS: readonly Row[] = [
  ...armRows,
  { of: 'Intel VT-d', stage: 'first', name: 'as x86 CPUs', schemes: [vtdFirst(4), vtdFirst(5)] },
  { of: 'Intel VT-d', stage: 'second', name: 'VT-d second stage', schemes: [vtdSecond(3), vtdSecond(4), vtdSecond(5)] },
  { of: 'AMD-Vi', stage: 'guest (v2)', name: 'as x86 CPUs', schemes: [amdV2(4), amdV2(5)] },
  { of: 'AMD-Vi', stage: 'host (v1)', name: 'AMD v1', schemes: ([1, 2, 3, 4, 5, 6] as const).map((levels) => amdV1(levels)) },
  { of: 'RISC-V IOMMU', stage: 'first', name: 'Sv32', schemes: riscv('Sv32') },
  { of: 'RISC-V IOMMU', stage: 'first', name: 'Sv39, Sv48, Sv57', schemes: riscv('Sv39', 'Sv48', 'Sv57') },
  { of: 'RISC-V IOMMU', stage: 'second', name: 'Sv32x4', schemes: riscv('Sv32x4') },
  { of: 'RISC-V IOMMU', stage: 'second', name: 'Sv39x4, Sv48x4, Sv57x4', schemes: riscv('Sv39x4', 'Sv48x4', 'Sv57x4') },
]

export function pageTables(): string {
  return table(
    ['', 'stage', 'format', 'levels', 'input bits', 'leaves', 'output bits', 'accessed and dirty'],
    ROWS.map(({ of, stage, name, schemes }) => {
      const largest = schemes.at(-1)!
      return [
        ...[of, stage, name],
        span(schemes.map(({ topDepth }) => topDepth + 1)),
        schemes.map(({ inputBits }) => inputBits).join(', '),
        leafSizes(largest),
        `${outputBits(largest.format)}`,
        flags(largest.format),
      ]
    }),
  )
}
