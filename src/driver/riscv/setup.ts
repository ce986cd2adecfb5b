/** Reset and enable. RISC-V IOMMU 1.0, "Guidelines for initialization". */
import { getField, type Layout, wordsFromU64 } from '../../base/layout.ts'
import { type Op, waitFor } from '../../base/op.ts'
import { IommError } from '../../core/error.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import {
  CAPABILITIES,
  CQB,
  CSR_ENABLE,
  CSR_INTERRUPT,
  CSR_ON,
  DDTP,
  DDTP_1LVL,
  DDTP_OFF,
  FCTL_BE,
  FCTL_WSI,
  FQB,
  ICVEC,
  IGS_MSI,
  MSI_ADDR,
  PQB,
} from '../../format/riscv/registers.ts'
import type { CommandRing } from '../common/command-ring.ts'
import type { RecordQueue } from '../common/record-queue.ts'
import { HOST, iodirDdt, iotinvalGvma, iotinvalVma } from './commands.ts'
import type { DeviceDirectory } from './directories.ts'
import type { Registers } from './registers.ts'

export interface Structures {
  readonly devices: DeviceDirectory
  readonly commands: CommandRing
  readonly faults: RecordQueue
  /** Null: the IOMMU has no page requests. */
  readonly pages: RecordQueue | null
  /** Where interrupts go that cannot be wires. */
  msi(): { readonly address: bigint; readonly data: number }
}

/** csr.busy: a change is under way. */
const CSR_BUSY = 1 << 17

/** Brings the IOMMU from any state to one that translates by these structures. @throws IommError Unsupported, Hardware */
export function* setUp(registers: Registers, features: RiscvFeatures, given: Structures): Op<void> {
  const { devices, commands, faults, pages } = given
  // What went on before must not reach memory now.
  yield* setMode(registers, DDTP_OFF, 0)
  yield* setQueue(registers, 'cq', false)
  yield* setQueue(registers, 'fq', false)
  if (features.ats) yield* setQueue(registers, 'pq', false)

  const wires = Number(getField(wordsFromU64([registers.readWide('capabilities')]), CAPABILITIES.fields.IGS)) !== IGS_MSI
  registers.write('fctl', wires ? FCTL_WSI : 0)
  if ((registers.read('fctl') & FCTL_BE) !== 0)
    throw new IommError('Unsupported', 'the IOMMU reads its structures in big-endian order only (capabilities.END, fctl.BE)')
  registers.set(ICVEC, {})
  if ((registers.read('fctl') & FCTL_WSI) === 0) {
    const { address, data } = given.msi()
    registers.write('msi_data_0', data)
    registers.set({ ...MSI_ADDR, name: 'msi_addr_0' }, { ADDR: address })
    registers.write('msi_vec_ctl_0', 0)
  }

  setBase(registers, CQB, commands)
  registers.write('cqt', 0)
  yield* setQueue(registers, 'cq', true)
  // Whatever the caches hold is from another life.
  yield* commands.issueAndSync([iodirDdt(null), iotinvalVma(HOST), iotinvalGvma(HOST)])

  setBase(registers, FQB, faults)
  registers.write('fqh', 0)
  yield* setQueue(registers, 'fq', true)
  if (pages !== null) {
    setBase(registers, PQB, pages)
    registers.write('pqh', 0)
    yield* setQueue(registers, 'pq', true)
  }
  yield* setMode(registers, DDTP_1LVL + devices.levels - 1, devices.base)
}

function setBase(registers: Registers, layout: Layout, { base, log2 }: { readonly base: number; readonly log2: number }): void {
  registers.set(layout, { 'LOG2SZ-1': log2 - 1, PPN: BigInt(base) })
}

/** "Poll on cqcsr.cqon until it reads 1." */
function* setQueue(registers: Registers, name: 'cq' | 'fq' | 'pq', on: boolean): Op<void> {
  const csr = `${name}csr`
  yield* waitFor(`${csr}.busy`, () => (registers.read(csr) & CSR_BUSY) === 0)
  registers.write(csr, on ? CSR_ENABLE | CSR_INTERRUPT : 0)
  yield* waitFor(`${csr}.${name}on`, () => ((registers.read(csr) & CSR_ON) !== 0) === on)
}

/** "Determine the values supported by ddtp.iommu_mode by writing legal values and reading it to see if the value was retained." */
function* setMode(registers: Registers, mode: number, root: number): Op<void> {
  const field = (name: 'iommu_mode' | 'busy') => Number(getField(wordsFromU64([registers.readWide('ddtp')]), DDTP.fields[name]))
  yield* waitFor('ddtp.busy', () => field('busy') === 0)
  registers.set(DDTP, { iommu_mode: mode, PPN: BigInt(root) })
  yield* waitFor('ddtp.busy', () => field('busy') === 0)
  if (field('iommu_mode') !== mode)
    throw new IommError(
      'Hardware',
      `the IOMMU does not take ddtp.iommu_mode ${DDTP.fields.iommu_mode.names[mode as 0] ?? mode}; choose other directory levels`,
    )
}
