/** The commands that the driver sends. Arm IHI 0070, chapter 4. */
import { encode } from '../../base/layout.ts'
import type { ResponseCode } from '../../core/driver.ts'
import {
  ATC_INV,
  ATC_INV_SIZE_ALL,
  CFGI_CD,
  CFGI_CD_ALL,
  CFGI_STE,
  CFGI_STE_RANGE,
  CMD_ATC_INV,
  CMD_CFGI_CD,
  CMD_CFGI_CD_ALL,
  CMD_CFGI_STE,
  CMD_CFGI_STE_RANGE,
  CMD_PRI_RESP,
  CMD_RESUME,
  CMD_STALL_TERM,
  CMD_TLBI_EL2_ALL,
  CMD_TLBI_NH_ALL,
  CMD_TLBI_NH_ASID,
  CMD_TLBI_NH_VA,
  CMD_TLBI_NSNH_ALL,
  CMD_TLBI_S2_IPA,
  CMD_TLBI_S12_VMALL,
  PRI_RESP,
  PRI_RESP_FAILURE,
  PRI_RESP_INVALID,
  PRI_RESP_SUCCESS,
  RANGE_ALL,
  RESUME,
  STALL_TERM,
  TLBI_EL2_ALL,
  TLBI_NH_ALL,
  TLBI_NH_ASID,
  TLBI_NH_VA,
  TLBI_NSNH_ALL,
  TLBI_S2_IPA,
  TLBI_S12_VMALL,
} from '../../format/smmuv3/commands.ts'
import type { PowerRange } from '../common/power-of-two.ts'
import type { TlbiRange } from './tlbi.ts'

export const cfgiAll = () => encode(CFGI_STE_RANGE, { opcode: CMD_CFGI_STE_RANGE, Range: RANGE_ALL })

/** 2^log2 streams, aligned, first-level descriptors included. */
export const cfgiSteRange = (sid: number, log2: number) =>
  encode(CFGI_STE_RANGE, { opcode: CMD_CFGI_STE_RANGE, StreamID: sid - (sid % 2 ** log2), Range: log2 - 1 })

/** The STE and everything that was fetched through it. The first level of the stream table did not change. */
export const cfgiSte = (sid: number) => encode(CFGI_STE, { opcode: CMD_CFGI_STE, StreamID: sid, Leaf: 1 })

/** One CD. @param leaf the first level of the CD table did not change. */
export const cfgiCd = (sid: number, pasid: number, leaf = true) =>
  encode(CFGI_CD, { opcode: CMD_CFGI_CD, StreamID: sid, SubstreamID: pasid, Leaf: leaf ? 1 : 0 })

/** All CDs of a stream, first-level descriptors included. */
export const cfgiCdAll = (sid: number) => encode(CFGI_CD_ALL, { opcode: CMD_CFGI_CD_ALL, StreamID: sid })

export const tlbiAll = () => encode(TLBI_NSNH_ALL, { opcode: CMD_TLBI_NSNH_ALL })
export const tlbiEl2All = () => encode(TLBI_EL2_ALL, { opcode: CMD_TLBI_EL2_ALL })

/** Stage 1 entries of an ASID, under VMID 0: streams without a stage 2 of ours. */
export const tlbiAsid = (asid: number) => encode(TLBI_NH_ASID, { opcode: CMD_TLBI_NH_ASID, ASID: asid })

/** @param leaf no table was taken out, only leaves changed. */
export const tlbiVa = (asid: number, { address, tg, num, scale }: TlbiRange, leaf: boolean) =>
  encode(TLBI_NH_VA, { opcode: CMD_TLBI_NH_VA, ASID: asid, Address: address, TG: tg, NUM: num, SCALE: scale, Leaf: leaf ? 1 : 0 })

/** Stage 1 entries of all ASIDs of a VMID: where a stage 2 changed under a guest's stage 1. */
export const tlbiNhAll = (vmid: number) => encode(TLBI_NH_ALL, { opcode: CMD_TLBI_NH_ALL, VMID: vmid })

/** Both stages of a VMID. */
export const tlbiVmid = (vmid: number) => encode(TLBI_S12_VMALL, { opcode: CMD_TLBI_S12_VMALL, VMID: vmid })

export const tlbiIpa = (vmid: number, { address, tg, num, scale }: TlbiRange, leaf: boolean) =>
  encode(TLBI_S2_IPA, {
    opcode: CMD_TLBI_S2_IPA,
    VMID: vmid,
    Address: address,
    TG: tg,
    NUM: num,
    SCALE: scale,
    Leaf: leaf ? 1 : 0,
  })

/** @param pasid null: no PASID, which takes the entries of all PASIDs with it. @param range null: all addresses. */
export const atcInvalidate = (sid: number, pasid: number | null, range: PowerRange | null) =>
  encode(ATC_INV, {
    opcode: CMD_ATC_INV,
    StreamID: sid,
    SSV: pasid === null ? 0 : 1,
    SubstreamID: pasid ?? 0,
    Size: range?.size ?? ATC_INV_SIZE_ALL,
    Address: range?.address ?? 0n,
  })

const PRI_CODES: Record<ResponseCode, number> = {
  success: PRI_RESP_SUCCESS,
  invalid: PRI_RESP_INVALID,
  failure: PRI_RESP_FAILURE,
}

/** @param pasid null: the response carries none. */
export const pageResponse = (sid: number, pasid: number | null, group: number, code: ResponseCode) =>
  encode(PRI_RESP, {
    opcode: CMD_PRI_RESP,
    StreamID: sid,
    SSV: pasid === null ? 0 : 1,
    SubstreamID: pasid ?? 0,
    PRGIndex: group,
    Resp: PRI_CODES[code],
  })

/** A stalled transaction: again for success, an abort for the rest. */
export const resume = (sid: number, tag: number, code: ResponseCode) =>
  encode(RESUME, { opcode: CMD_RESUME, StreamID: sid, STAG: tag, Ac: code === 'success' ? 1 : 0, Ab: code === 'success' ? 0 : 1 })

/** All stalled transactions of a stream end with an abort. */
export const stallTerminate = (sid: number) => encode(STALL_TERM, { opcode: CMD_STALL_TERM, StreamID: sid })
