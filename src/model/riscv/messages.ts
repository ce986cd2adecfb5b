/** PCIe messages between the IOMMU and devices. PCI Express, "Address Translation Services"; RISC-V IOMMU 1.0, "PCIe ATS commands". */
import { getField } from '../../base/layout.ts'
import { hi32, lo32, u64 } from '../../base/u64.ts'
import { ATS_INVAL_PAYLOAD, ATS_PRGR_PAYLOAD } from '../../format/riscv/commands.ts'
import { MESSAGE_INVALIDATION_REQUEST } from '../../format/riscv/records.ts'
import { invalidationRange, type PciFunction } from '../common/invalidations.ts'
import type { DeviceMessage } from '../iommu.ts'

/** A message to a device, as it goes out. */
export interface RiscvMessage extends PciFunction {
  /** MESSAGE_INVALIDATION_REQUEST or MESSAGE_PRG_RESPONSE. */
  readonly code: number
  /** ITag of an invalidation request. */
  readonly tag: number
  /** PASID, -1 without. */
  readonly process: number
  /** Bytes 8 to 15. */
  readonly payload: bigint
}

/** A page request or stop marker, as it comes in. */
export interface RiscvPageRequest extends PciFunction {
  readonly process: number
  readonly privileged: boolean
  readonly execute: boolean
  /** Bytes 8 to 15: R, W, L, group index, page address. */
  readonly payload: bigint
}

/** Page Request Group Response codes. */
export const PRG_SUCCESS = 0
export const PRG_INVALID = 1
export const PRG_FAILURE = 15

/** device_id of a function: the segment above the routing ID. */
export function deviceOf({ rid, segment }: PciFunction): number {
  return segment === null ? rid : (segment << 16) | rid
}

/** The same message, in the words that all models share. */
export function toDeviceMessage(message: RiscvMessage): DeviceMessage {
  const words = Int32Array.of(lo32(message.payload), hi32(message.payload))
  const common = { device: deviceOf(message), pasid: message.process < 0 ? null : message.process }
  if (message.code === MESSAGE_INVALIDATION_REQUEST) {
    const address = getField(words, ATS_INVAL_PAYLOAD.fields.UntranslatedAddress) as bigint
    const range = invalidationRange(address, getField(words, ATS_INVAL_PAYLOAD.fields.S) === 1)
    return { kind: 'invalidate', ...common, ...range, tag: message.tag }
  }
  const code = getField(words, ATS_PRGR_PAYLOAD.fields.ResponseCode)
  return {
    kind: 'page-response',
    ...common,
    group: Number(getField(words, ATS_PRGR_PAYLOAD.fields.PRGI)),
    code: code === PRG_SUCCESS ? 'success' : code === PRG_INVALID ? 'invalid' : 'failure',
  }
}

/** The payload of a Page Request Group Response that the IOMMU makes itself. */
export function responsePayload(rid: number, group: number, code: number): bigint {
  return u64((rid << 16) | (code << 12) | group, 0)
}
