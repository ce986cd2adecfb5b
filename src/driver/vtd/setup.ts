/** Reset and enable. Intel VT-d 4.1, sections 6.6, 10.x "Programming considerations", 11.4.4 (GCMD), 11.4.6 (RTADDR). */
import { type Op, waitFor } from '../../base/op.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import {
  FSTS_ICE,
  FSTS_IQE,
  FSTS_ITE,
  FSTS_PFO,
  GS_CFI,
  GS_IRE,
  GS_QIE,
  GS_RTP,
  GS_TE,
  IQA,
  PQA,
  PRS_PPR,
  PRS_PRO,
  RTADDR,
  TTM_LEGACY,
  TTM_SCALABLE,
} from '../../format/vtd/registers.ts'
import type { CommandRing } from '../common/command-ring.ts'
import type { RecordQueue, Records } from '../common/record-queue.ts'
import { contextCacheGlobal, iotlbGlobal, pasidCacheGlobal } from './commands.ts'
import { drainingOf } from './invalidation.ts'
import type { Registers } from './registers.ts'
import type { RootTable } from './tables.ts'

export interface Structures {
  readonly root: RootTable
  readonly scalable: boolean
  readonly commands: CommandRing
  readonly descriptorBytes: 16 | 32
  readonly faults: Records
  /** Null: the IOMMU has no page requests. */
  readonly pages: RecordQueue | null
  /** Where its interrupts go. */
  readonly msi: { readonly address: bigint; readonly data: number }
}

/** Bits of GCMD that stay until they are written otherwise; the others are commands of the moment. */
const LEVELS = GS_TE | GS_QIE | GS_IRE | GS_CFI

/** GCMD takes one change at a time, beside what is on. */
function* command(registers: Registers, bit: number, on: boolean, what: string): Op<void> {
  const levels = registers.read('GSTS') & LEVELS
  registers.write('GCMD', on ? levels | bit : levels & ~bit)
  yield* waitFor(what, () => ((registers.read('GSTS') & bit) !== 0) === on)
}

/**
 * Brings the IOMMU from any state to one that translates by these structures. Where it translates already, it never stops to: with TE = 0
 * everything would pass. Interrupt remapping stays as it is.
 */
export function* setUp(registers: Registers, features: VtdFeatures, given: Structures): Op<void> {
  const { root, scalable, commands, faults, pages } = given
  setEvent(registers, 'FE', given.msi)
  if (pages !== null) setEvent(registers, 'PE', given.msi)

  if ((registers.read('GSTS') & GS_QIE) !== 0) {
    // 6.5.2: the queue is switched off only when nothing is in it.
    const idle = () => registers.readWide('IQH') === registers.readWide('IQT')
    registers.write('FSTS', FSTS_IQE | FSTS_ICE | FSTS_ITE)
    yield* waitFor('the old invalidation queue', () => idle() || (registers.read('FSTS') & (FSTS_IQE | FSTS_ITE)) !== 0)
    yield* command(registers, GS_QIE, false, 'GSTS.QIES')
  }
  registers.set(RTADDR, { RTA: BigInt(root.base), TTM: scalable ? TTM_SCALABLE : TTM_LEGACY })
  yield* command(registers, GS_RTP, true, 'GSTS.RTPS')

  const wide = given.descriptorBytes === 32
  registers.set(IQA, { IQA: BigInt(commands.base), QS: commands.log2 - (wide ? 7 : 8), DW: wide ? 1 : 0 })
  registers.write('IQT', 0)
  registers.write('FSTS', FSTS_IQE | FSTS_ICE | FSTS_ITE)
  yield* command(registers, GS_QIE, true, 'GSTS.QIES')
  // Whatever the caches hold is from another life. 6.5.3.3: context entries, then PASIDs, then translations.
  yield* commands.issueAndSync([contextCacheGlobal()])
  if (scalable && wide) yield* commands.issueAndSync([pasidCacheGlobal()])
  yield* commands.issueAndSync([iotlbGlobal(drainingOf(features))])

  while (faults.next() !== null);
  registers.write('FSTS', FSTS_PFO)
  if (pages !== null) {
    registers.set(PQA, { PQA: BigInt(pages.base), PQS: pages.log2 - 7 })
    registers.write('PQT', 0)
    registers.write('PQH', 0)
    registers.write('PRS', PRS_PPR | PRS_PRO)
  }
  yield* command(registers, GS_TE, true, 'GSTS.TES')
}

/** An interrupt of the IOMMU's own: a message, not masked. */
function setEvent(registers: Registers, event: 'FE' | 'PE', { address, data }: Structures['msi']): void {
  registers.write(`${event}DATA`, data)
  registers.write(`${event}ADDR`, Number(address & 0xffffffffn))
  registers.write(`${event}UADDR`, Number(address >> 32n))
  registers.write(`${event}CTL`, 0)
}
