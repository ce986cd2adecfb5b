/**
 * The command queue. Arm IHI 0070, 3.5 "Command and Event queues", 4.1 "Commands overview", 4.7.3 "CMD_SYNC", 7.1 "Command queue errors".
 * CMDQ_PROD and CMDQ_CONS hold an index and a wrap bit.
 */
import { encode } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import {
  CERROR_ABT,
  CERROR_ATC_INV_SYNC,
  CERROR_ILL,
  CMD_ATC_INV,
  CMD_BYTES,
  CMD_CFGI_STE,
  CMD_CFGI_VMS_PIDM,
  CMD_SYNC,
  CMD_TLBI_NH_ALL,
  CMD_TLBI_NSNH_ALL,
  commandOf,
  SYNC,
  SYNC_NONE,
} from '../../format/smmuv3/commands.ts'
import { CMDQ_CONS, GERROR, GERRORN } from '../../format/smmuv3/registers.ts'
import {
  type CommandError,
  type CommandFailure,
  type CommandHardware,
  CommandRing,
  type Forgettable,
} from '../common/command-ring.ts'
import { fieldOf } from '../common/registers.ts'
import type { Registers } from './registers.ts'

const SYNC_COMMAND = encode(SYNC, { opcode: CMD_SYNC, CS: SYNC_NONE })

/** The command queue with 2^log2 entries at `base`. */
export function commandQueue(
  memory: WordMemory,
  registers: Registers,
  base: number,
  log2: number,
  report: (error: CommandError) => void,
): CommandRing {
  const hardware: CommandHardware = {
    commandBytes: CMD_BYTES,
    modulus: 2 ** (log2 + 1),
    capacity: 2 ** log2,
    fence: () => SYNC_COMMAND,
    kindOf,
    publish: (index) => registers.write('CMDQ_PROD', index),
    error() {
      const failed = fieldOf(registers.read('GERROR') ^ registers.read('GERRORN'), GERROR.fields.CMDQ_ERR) !== 0
      return failed ? fieldOf(registers.read('CMDQ_CONS'), CMDQ_CONS.fields.ERR) : -1
    },
    consumed: () => fieldOf(registers.read('CMDQ_CONS'), CMDQ_CONS.fields.RD),
    failure,
    acknowledge: () => registers.write('GERRORN', registers.read('GERRORN') ^ (1 << GERRORN.fields.CMDQ_ERR.lsb)),
  }
  return new CommandRing(memory, base, log2, hardware, report)
}

function failure(error: number, command: Uint32Array, at: number): CommandFailure {
  if (error === CERROR_ILL) {
    const name = commandOf(command)?.name ?? 'no command'
    const text = `the SMMU refused ${name} (${hexWords(command)}); it is skipped`
    return { name: 'CERROR_ILL', text, remedy: 'skip' }
  }
  if (error === CERROR_ABT)
    return {
      name: 'CERROR_ABT',
      text: `the SMMU cannot read its command queue at 0x${at.toString(16)}; is that memory?`,
      remedy: 'broken',
    }
  const name = error === CERROR_ATC_INV_SYNC ? 'CERROR_ATC_INV_SYNC' : `CERROR ${error}`
  return { name, text: 'a device did not complete an ATC invalidation in time', remedy: 'retry' }
}

/** Which kind of forgettable command this is; null for others. */
export function kindOf(command: Uint32Array): Forgettable | null {
  const opcode = command[0]! & 0xff
  if (opcode >= CMD_CFGI_STE && opcode <= CMD_CFGI_VMS_PIDM) return 'config'
  if (opcode >= CMD_TLBI_NH_ALL && opcode <= CMD_TLBI_NSNH_ALL) return 'iotlb'
  if (opcode === CMD_ATC_INV) return 'atc'
  return opcode === CMD_SYNC ? 'sync' : null
}

function hexWords(words: Uint32Array): string {
  return [...words].map((word) => word.toString(16).padStart(8, '0')).join(' ')
}
