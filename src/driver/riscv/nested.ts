/**
 * A guest's invalidation commands, made safe to send: its GSCID becomes the one of its domain, and its devices must be its own.
 * RISC-V IOMMU 1.0, "Command-Queue (CQ)".
 */
import { getNumber } from '../../base/layout.ts'
import { IommError } from '../../core/error.ts'
import { ATS, IODIR, IOTINVAL, OPCODE_ATS, OPCODE_IODIR, OPCODE_IOTINVAL } from '../../format/riscv/commands.ts'
import { commandName } from '../../format/riscv/structures.ts'
import { forGuest } from './commands.ts'

/**
 * The command that does for this guest what it asked for.
 * @param owns whether a device_id is one of the guest's.
 * @throws IommError BadArgument: the guest's command queue should report cmd_ill.
 */
export function guestCommand(command: Uint32Array, gscid: number, owns: (device: number) => boolean): Uint32Array {
  const refuse = (why: string) => {
    throw new IommError('BadArgument', `a guest may not send ${commandName(command)}${why}`)
  }
  const opcode = command[0]! & 0x7f
  const func3 = (command[0]! >>> 7) & 7
  if (opcode === OPCODE_IOTINVAL && func3 === 0) {
    // The guest's host: what it calls a guest of its own does not exist.
    if (getNumber(command, IOTINVAL.fields.GV) === 1) refuse(' with GV = 1: it has no second stage')
    return forGuest(command, gscid)
  }
  if (opcode === OPCODE_IODIR) {
    if (getNumber(command, IODIR.fields.DV) === 0) refuse(' for all devices: it names one')
    return own(getNumber(command, IODIR.fields.DID))
  }
  if (opcode === OPCODE_ATS && func3 === 0) {
    const segment = getNumber(command, ATS.fields.DSV) === 1 ? getNumber(command, ATS.fields.DSEG) : 0
    return own(segment * 0x10000 + getNumber(command, ATS.fields.RID))
  }
  refuse('')
  return command

  function own(device: number): Uint32Array {
    if (!owns(device)) throw new IommError('BadArgument', `device_id 0x${device.toString(16)} is not one of the guest's`)
    return command.slice()
  }
}
