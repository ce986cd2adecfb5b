/** The command queue. RISC-V IOMMU 1.0, "Command-Queue (CQ)", "Command-queue CSR". Indices have no wrap bit: one entry stays empty. */
import { getNumber } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { ATS, OPCODE_ATS, OPCODE_IODIR, OPCODE_IOFENCE, OPCODE_IOTINVAL } from '../../format/riscv/commands.ts'
import { CQCSR, CQCSR_ILLEGAL, CQCSR_TIMEOUT, CSR_ENABLE, CSR_INTERRUPT, CSR_MEMORY_FAULT } from '../../format/riscv/registers.ts'
import { commandName } from '../../format/riscv/structures.ts'
import { type CommandError, type CommandFailure, CommandRing, type Forgettable } from '../common/command-ring.ts'
import { iofence } from './commands.ts'
import type { Registers } from './registers.ts'

export const COMMAND_BYTES = 16
const FENCE = iofence()
const ERRORS = [CSR_MEMORY_FAULT, CQCSR_ILLEGAL, CQCSR_TIMEOUT]

/** The command queue with 2^log2 entries at `base`. */
export function commandQueue(
  memory: WordMemory,
  registers: Registers,
  base: number,
  log2: number,
  report: (error: CommandError) => void,
): CommandRing {
  const hardware = {
    commandBytes: COMMAND_BYTES,
    modulus: 2 ** log2,
    capacity: 2 ** log2 - 1,
    fence: () => FENCE,
    kindOf,
    publish: (index: number) => registers.write('cqt', index),
    error() {
      const csr = registers.read('cqcsr')
      return ERRORS.find((error) => (csr & error) !== 0) ?? -1
    },
    consumed: () => registers.read('cqh'),
    failure,
    // The error bits are cleared by writing 1; the queue goes on when none is left.
    acknowledge: (error: number) => registers.write('cqcsr', CSR_ENABLE | CSR_INTERRUPT | error),
  }
  return new CommandRing(memory, base, log2, hardware, report)
}

function failure(error: number, command: Uint32Array, at: number): CommandFailure {
  if (error === CQCSR_ILLEGAL) {
    const words = [...command].map((word) => word.toString(16).padStart(8, '0')).join(' ')
    return { name: 'cmd_ill', text: `the IOMMU refused ${commandName(command)} (${words}); it is skipped`, remedy: 'skip' }
  }
  if (error === CSR_MEMORY_FAULT) {
    const text = `the IOMMU cannot read its command queue at 0x${at.toString(16)}; is that memory?`
    return { name: CQCSR.fields.cqmf.doc, text, remedy: 'broken' }
  }
  return { name: 'cmd_to', text: 'a device did not complete an ATC invalidation in time', remedy: 'retry' }
}

/** Which kind of forgettable command this is; null for others. */
export function kindOf(command: Uint32Array): Forgettable | null {
  const opcode = command[0]! & 0x7f
  if (opcode === OPCODE_IODIR) return 'config'
  if (opcode === OPCODE_IOTINVAL) return 'iotlb'
  if (opcode === OPCODE_ATS) return getNumber(command, ATS.fields.func3) === 0 ? 'atc' : null
  return opcode === OPCODE_IOFENCE ? 'sync' : null
}
