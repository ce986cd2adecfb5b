/**
 * The invalidation queue. Intel VT-d 4.1, section 6.5.2. The head says what was fetched, not what is done: that a wait descriptor writes to
 * memory, so each place of the queue has a word of status, and each wait a number of its own.
 */
import type { WordMemory } from '../../base/memory.ts'
import {
  DESCRIPTOR_NAMES,
  descriptorType,
  TYPE_CONTEXT_CACHE,
  TYPE_DEVICE_TLB,
  TYPE_IOTLB,
  TYPE_PASID_CACHE,
  TYPE_PASID_DEVICE_TLB,
  TYPE_PASID_IOTLB,
  TYPE_WAIT,
} from '../../format/vtd/descriptors.ts'
import { FSTS_IQE, FSTS_ITE, IQEI_FETCH, IQEI_TAIL, IQERCD, REG } from '../../format/vtd/registers.ts'
import {
  type CommandError,
  type CommandFailure,
  type CommandHardware,
  CommandRing,
  type Forgettable,
} from '../common/command-ring.ts'
import { fieldOf } from '../common/registers.ts'
import { waitStatus } from './commands.ts'
import type { Registers } from './registers.ts'

const ERRORS = [FSTS_IQE, FSTS_ITE]

/**
 * The invalidation queue with 2^log2 descriptors of so many bytes at `base`.
 * @param status as many 32-bit words, zeros.
 */
export function commandQueue(
  memory: WordMemory,
  registers: Registers,
  place: { readonly base: number; readonly log2: number; readonly bytes: 16 | 32; readonly status: number },
  report: (error: CommandError) => void,
): CommandRing {
  const { base, log2, bytes, status } = place
  const entries = 2 ** log2
  const statusOf = (end: number) => status + ((end + entries - 1) % entries) * 4
  const hardware: CommandHardware = {
    commandBytes: bytes,
    modulus: entries,
    // A full queue would look like an empty one.
    capacity: entries - 1,
    fence: (end) => waitStatus(statusOf(end), end >>> 0),
    // A later wait may have been written to the same place.
    complete: (end) => ((memory.words[memory.index(statusOf(end))]! - end) | 0) >= 0,
    kindOf,
    publish: (index) => registers.write('IQT', index * bytes),
    error() {
      const errors = registers.read('FSTS')
      return ERRORS.find((error) => (errors & error) !== 0) ?? -1
    },
    consumed: () => registers.read('IQH') / bytes,
    failure: (error, command, at) => failure(registers, error, command, at),
    acknowledge: (error) => registers.write('FSTS', error),
  }
  return new CommandRing(memory, base, log2, hardware, report)
}

function failure(registers: Registers, error: number, command: Uint32Array, at: number): CommandFailure {
  if (error === FSTS_ITE)
    return { name: 'ITE', text: 'a device did not complete a device-TLB invalidation in time', remedy: 'repeat' }
  const info = fieldOf(Number(registers.mmio.read(REG.IQERCD, 8) & 0xffffffffn), IQERCD.fields.IQEI)
  const why = IQERCD.fields.IQEI.names[info as 0] ?? `information ${info}`
  if (info === IQEI_FETCH || info === IQEI_TAIL)
    return {
      name: 'IQE',
      text: `the IOMMU cannot read its invalidation queue at 0x${at.toString(16)}: ${why}; is that memory?`,
      remedy: 'broken',
    }
  const words = [...command].map((word) => word.toString(16).padStart(8, '0')).join(' ')
  return { name: 'IQE', text: `the IOMMU refused ${descriptorName(command)} (${words}): ${why}; it is skipped`, remedy: 'skip' }
}

/** `p_iotlb_inv_dsc`. */
export function descriptorName(command: Uint32Array): string {
  const type = descriptorType(command[0]!)
  return DESCRIPTOR_NAMES[type as keyof typeof DESCRIPTOR_NAMES] ?? `descriptor type ${type}`
}

const KINDS: Readonly<Record<number, Forgettable>> = {
  [TYPE_CONTEXT_CACHE]: 'config',
  [TYPE_PASID_CACHE]: 'config',
  [TYPE_IOTLB]: 'iotlb',
  [TYPE_PASID_IOTLB]: 'iotlb',
  [TYPE_DEVICE_TLB]: 'atc',
  [TYPE_PASID_DEVICE_TLB]: 'atc',
  [TYPE_WAIT]: 'sync',
}

/** Which kind of forgettable command this is; null for others. */
export function kindOf(command: Uint32Array): Forgettable | null {
  return KINDS[descriptorType(command[0]!)] ?? null
}
