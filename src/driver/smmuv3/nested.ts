/**
 * A guest's invalidation commands, made safe to send: its VMID becomes the one of its domain, and its streams must be its own.
 * Arm IHI 0070, 4.3, 4.4, 4.5.1.
 */
import { getNumber, setField } from '../../base/layout.ts'
import { IommError } from '../../core/error.ts'
import {
  ATC_INV,
  CFGI_CD,
  CMD_ATC_INV,
  CMD_CFGI_CD,
  CMD_CFGI_CD_ALL,
  CMD_TLBI_NH_ALL,
  CMD_TLBI_NH_ASID,
  CMD_TLBI_NH_VA,
  CMD_TLBI_NH_VAA,
  CMD_TLBI_NSNH_ALL,
  commandOf,
  TLBI_NH_ASID,
} from '../../format/smmuv3/commands.ts'
import { tlbiNhAll } from './commands.ts'

/**
 * The command that does for this guest what it asked for.
 * @param owns whether a StreamID is one of the guest's.
 * @throws IommError BadArgument: the guest's command queue should report CERROR_ILL.
 */
export function guestCommand(command: Uint32Array, vmid: number, owns: (sid: number) => boolean): Uint32Array {
  const opcode = command[0]! & 0xff
  const safe = command.slice()
  const own = (sid: number) => {
    if (!owns(sid)) throw new IommError('BadArgument', `stream 0x${sid.toString(16)} is not one of the guest's`)
    return safe
  }
  switch (opcode) {
    // All of the guest's entries: those of its VMID.
    case CMD_TLBI_NSNH_ALL:
    case CMD_TLBI_NH_ALL:
      return tlbiNhAll(vmid)
    case CMD_TLBI_NH_ASID:
    case CMD_TLBI_NH_VA:
    case CMD_TLBI_NH_VAA:
      setField(safe, TLBI_NH_ASID.fields.VMID, vmid)
      return safe
    case CMD_CFGI_CD:
    case CMD_CFGI_CD_ALL:
      return own(getNumber(command, CFGI_CD.fields.StreamID))
    case CMD_ATC_INV:
      return own(getNumber(command, ATC_INV.fields.StreamID))
    default:
      throw new IommError('BadArgument', `a guest may not send ${commandOf(command)?.name ?? `opcode 0x${opcode.toString(16)}`}`)
  }
}
