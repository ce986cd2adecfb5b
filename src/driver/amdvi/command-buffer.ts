/**
 * The command buffer. AMD IOMMU specification (48882), 2.4. The head says what was fetched; that commands are complete COMPLETION_WAIT
 * writes to memory, so each place of the buffer has eight bytes of status, and each wait a number of its own.
 */
import type { WordMemory } from '../../base/memory.ts'
import { illegalCommand } from '../../format/amdvi/command-rules.ts'
import {
  COMMAND_BYTES,
  COMMANDS,
  OP_COMPLETION_WAIT,
  OP_INVALIDATE_DEVTAB_ENTRY,
  OP_INVALIDATE_IOMMU_ALL,
  OP_INVALIDATE_IOMMU_PAGES,
  OP_INVALIDATE_IOTLB_PAGES,
  opcodeOf,
} from '../../format/amdvi/commands.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { STATUS_CMD_BUF_RUN } from '../../format/amdvi/registers.ts'
import { type CommandError, type CommandFailure, CommandRing, type Forgettable } from '../common/command-ring.ts'
import { completionWait } from './commands.ts'
import type { Registers } from './registers.ts'

/** The only error there is: the buffer has stopped. Which one it was the event log says. */
const STOPPED = 5

/**
 * The command buffer with 2^log2 commands at `base`.
 * @param status as many times 8 bytes, zeros.
 */
export function commandBuffer(
  memory: WordMemory,
  registers: Registers,
  features: AmdFeatures,
  place: { readonly base: number; readonly log2: number; readonly status: number },
  report: (error: CommandError) => void,
): CommandRing {
  const { base, log2, status } = place
  const entries = 2 ** log2
  const statusOf = (end: number) => status + ((end + entries - 1) % entries) * 8
  const hardware = {
    commandBytes: COMMAND_BYTES,
    modulus: entries,
    // A full buffer would look like an empty one.
    capacity: entries - 1,
    fence: (end: number) => completionWait(statusOf(end), end),
    // A later wait may have been written to the same place.
    complete: (end: number) => ((memory.words[memory.index(statusOf(end))]! - end) | 0) >= 0,
    kindOf,
    publish: (index: number) => registers.write('CMD_TAIL', index * COMMAND_BYTES),
    error: () => ((registers.read('STATUS') & STATUS_CMD_BUF_RUN) === 0 ? STOPPED : -1),
    consumed: () => registers.read('CMD_HEAD') / COMMAND_BYTES,
    failure: (_error: number, command: Uint32Array, at: number) => failure(features, command, at),
    // 2.5.6: it goes on once CmdBufEn was 0.
    acknowledge() {
      registers.control(['CmdBufEn'], false)
      registers.control(['CmdBufEn'], true)
    },
  }
  return new CommandRing(memory, base, log2, hardware, report)
}

function failure(features: AmdFeatures, command: Uint32Array, at: number): CommandFailure {
  const why = illegalCommand(command, 0, features)
  if (why === null) {
    const text = `the IOMMU cannot read its command buffer at 0x${at.toString(16)}, or write where ${commandName(command)} stores; is that memory?`
    return { name: 'COMMAND_HARDWARE_ERROR', text, remedy: 'broken' }
  }
  const words = [...command].map((word) => word.toString(16).padStart(8, '0')).join(' ')
  const text = `the IOMMU refused ${commandName(command)} (${words}): ${why}; it is skipped`
  return { name: 'ILLEGAL_COMMAND_ERROR', text, remedy: 'skip' }
}

/** `INVALIDATE_IOMMU_PAGES`. */
export function commandName(command: Uint32Array): string {
  return COMMANDS.get(opcodeOf(command))?.name ?? `command ${opcodeOf(command)}`
}

const KINDS: Readonly<Record<number, Forgettable>> = {
  [OP_COMPLETION_WAIT]: 'sync',
  [OP_INVALIDATE_DEVTAB_ENTRY]: 'config',
  [OP_INVALIDATE_IOMMU_ALL]: 'config',
  // With PDE it takes GCR3 entries with it: for those there is no command of their own.
  [OP_INVALIDATE_IOMMU_PAGES]: 'iotlb',
  [OP_INVALIDATE_IOTLB_PAGES]: 'atc',
}

/** Which kind of forgettable command this is; null for others. */
export function kindOf(command: Uint32Array): Forgettable | null {
  return KINDS[opcodeOf(command)] ?? null
}
