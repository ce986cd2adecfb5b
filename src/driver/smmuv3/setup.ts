/** Reset and enable. Arm IHI 0070, 3.11 "Reset, Enable and initialization", 6.3.9 (CR0), 6.3.14 (GBPA). */
import { encode, type Values } from '../../base/layout.ts'
import { type Op, waitFor } from '../../base/op.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import {
  CMDQ_BASE,
  CR0,
  CR1,
  CR2,
  EVENTQ_BASE,
  GBPA,
  IDR0,
  IRQ_CTRL,
  PRIQ_BASE,
  STRTAB_BASE,
  STRTAB_BASE_CFG,
} from '../../format/smmuv3/registers.ts'
import type { CommandRing } from '../common/command-ring.ts'
import type { RecordQueue } from '../common/record-queue.ts'
import { cfgiAll, tlbiAll, tlbiEl2All } from './commands.ts'
import type { Registers } from './registers.ts'
import type { StreamTable } from './stream-table.ts'

export interface Structures {
  readonly streams: StreamTable
  readonly commands: CommandRing
  readonly events: RecordQueue
  /** Null: the SMMU has no page requests. */
  readonly pri: RecordQueue | null
}

/** CR1: tables and queues are write-back, inner shareable. */
const WRITE_BACK = 1
const INNER = 3

/** Brings the SMMU from any state to one that translates by these structures. @param btm it listens to the CPU's TLB maintenance. */
export function* setUp(registers: Registers, features: SmmuFeatures, given: Structures, btm: boolean): Op<void> {
  const { streams, commands, events, pri } = given
  // While it is off, nothing passes: what went on before must not reach memory now.
  yield* waitFor('SMMU_GBPA.Update', () => registers.fields(GBPA).Update === 0)
  registers.set(GBPA, { ABORT: 1, Update: 1 })
  yield* waitFor('SMMU_GBPA.Update', () => registers.fields(GBPA).Update === 0)
  yield* registers.setAcknowledged('CR0', 0)
  yield* registers.setAcknowledged('IRQ_CTRL', 0)

  registers.set(CR1, {
    TABLE_SH: INNER,
    TABLE_OC: WRITE_BACK,
    TABLE_IC: WRITE_BACK,
    QUEUE_SH: INNER,
    QUEUE_OC: WRITE_BACK,
    QUEUE_IC: WRITE_BACK,
  })
  // A device that asks by ATS for a PASID that is not bound is as wrong as one that uses it: have that recorded too.
  registers.set(CR2, { RECINVSID: 1, REC_CFG_ATS: registers.fields(IDR0).ATSRECERR, PTM: btm ? 0 : 1 })
  registers.set(STRTAB_BASE, { ADDR: BigInt(streams.base), RA: 1 })
  registers.set(STRTAB_BASE_CFG, { FMT: streams.format, LOG2SIZE: streams.bits, SPLIT: streams.split })

  registers.set(CMDQ_BASE, { ADDR: BigInt(commands.base), LOG2SIZE: commands.log2, RA: 1 })
  registers.write('CMDQ_PROD', 0)
  registers.write('CMDQ_CONS', 0)
  let cr0: Partial<Values<typeof CR0.fields>> = { CMDQEN: 1 }
  const enable = () => registers.setAcknowledged('CR0', encode(CR0, cr0)[0]!)
  yield* enable()
  // Whatever the caches hold is from another life.
  yield* commands.issueAndSync([cfgiAll()])
  yield* commands.issueAndSync([...(features.hyp ? [tlbiEl2All()] : []), tlbiAll()])

  registers.set(EVENTQ_BASE, { ADDR: BigInt(events.base), LOG2SIZE: events.log2, WA: 1 })
  registers.write('EVENTQ_PROD', 0)
  registers.write('EVENTQ_CONS', 0)
  cr0 = { ...cr0, EVENTQEN: 1 }
  yield* enable()
  if (pri !== null) {
    registers.set(PRIQ_BASE, { ADDR: BigInt(pri.base), LOG2SIZE: pri.log2, WA: 1 })
    registers.write('PRIQ_PROD', 0)
    registers.write('PRIQ_CONS', 0)
    cr0 = { ...cr0, PRIQEN: 1 }
    yield* enable()
  }
  const irqs = encode(IRQ_CTRL, { EVENTQ_IRQEN: 1, GERROR_IRQEN: 1, PRIQ_IRQEN: pri === null ? 0 : 1 })[0]!
  yield* registers.setAcknowledged('IRQ_CTRL', irqs)
  cr0 = { ...cr0, ATSCHK: features.ats ? 1 : 0, SMMUEN: 1 }
  yield* enable()
}
