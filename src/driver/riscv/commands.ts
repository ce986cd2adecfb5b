/** The commands that the driver sends. RISC-V IOMMU 1.0, "Command-Queue (CQ)"; PCI Express, "Address Translation Services". */
import { encode, setField } from '../../base/layout.ts'
import type { ResponseCode } from '../../core/driver.ts'
import {
  ATS,
  ATS_INVAL_PAYLOAD,
  ATS_PRGR_PAYLOAD,
  IODIR,
  IOFENCE,
  IOTINVAL,
  OPCODE_ATS,
  OPCODE_IODIR,
  OPCODE_IOFENCE,
  OPCODE_IOTINVAL,
} from '../../format/riscv/commands.ts'
import { EVERYTHING, napot, type PowerRange } from '../common/power-of-two.ts'

/** func3 of each command. */
const VMA = 0
const GVMA = 1
const INVAL_DDT = 0
const INVAL_PDT = 1
const INVAL = 0
const PRGR = 1

/** What an IOTINVAL is about. All null: everything of the host, or (GVMA) of every guest. */
export interface Subject {
  /** A guest; null: the host, whose second stage is Bare. */
  readonly gscid: number | null
  readonly pscid: number | null
  readonly range: PowerRange | null
  /** Entries above the leaves too, of a range (capabilities.NL). */
  readonly nonLeaf: boolean
}

export const HOST: Subject = { gscid: null, pscid: null, range: null, nonLeaf: false }

function iotinval(func3: number, { gscid, pscid, range, nonLeaf }: Subject): Uint32Array {
  const coded = range === null ? null : napot(range)
  return encode(IOTINVAL, {
    opcode: OPCODE_IOTINVAL,
    func3,
    AV: coded === null ? 0 : 1,
    ADDR: coded?.address ?? 0n,
    S: coded?.s ?? 0,
    NL: nonLeaf ? 1 : 0,
    GV: gscid === null ? 0 : 1,
    GSCID: gscid ?? 0,
    PSCV: pscid === null ? 0 : 1,
    PSCID: pscid ?? 0,
  })
}

/** First-stage translations. */
export const iotinvalVma = (subject: Subject) => iotinval(VMA, subject)
/** Second-stage translations. */
export const iotinvalGvma = (subject: Subject) => iotinval(GVMA, { ...subject, pscid: null })

/** A device context and every process context that was fetched through it; null: all. */
export const iodirDdt = (device: number | null) =>
  encode(IODIR, { opcode: OPCODE_IODIR, func3: INVAL_DDT, DV: device === null ? 0 : 1, DID: device ?? 0 })

/** One process context. */
export const iodirPdt = (device: number, process: number) =>
  encode(IODIR, { opcode: OPCODE_IODIR, func3: INVAL_PDT, DV: 1, DID: device, PID: process })

/** All commands before it are complete, and what devices read and wrote until then is where everybody sees it: memory may be reused. */
export const iofence = () => encode(IOFENCE, { opcode: OPCODE_IOFENCE, PR: 1, PW: 1 })

/** A message to a device: the segment is above the routing ID. */
function message(func3: number, device: number, pasid: number | null, payload: Uint32Array): Uint32Array {
  const words = encode(ATS, {
    opcode: OPCODE_ATS,
    func3,
    PV: pasid === null ? 0 : 1,
    PID: pasid ?? 0,
    DSV: device > 0xffff ? 1 : 0,
    DSEG: device >>> 16,
    RID: device & 0xffff,
  })
  words.set(payload, 2)
  return words
}

/** @param pasid null: no PASID, which takes the entries of all PASIDs with it. @param range null: all addresses. */
export function atsInvalidate(device: number, pasid: number | null, range: PowerRange | null): Uint32Array {
  const { address, s } = napot(range ?? { address: 0n, size: EVERYTHING })
  return message(INVAL, device, pasid, encode(ATS_INVAL_PAYLOAD, { UntranslatedAddress: address, S: s }))
}

const RESPONSES: Record<ResponseCode, number> = { success: 0, invalid: 1, failure: 15 }

/** @param pasid null: the response carries none. */
export const pageResponse = (device: number, pasid: number | null, group: number, code: ResponseCode) =>
  message(
    PRGR,
    device,
    pasid,
    encode(ATS_PRGR_PAYLOAD, { PRGI: group, ResponseCode: RESPONSES[code], DestinationID: device & 0xffff }),
  )

/** The same first-stage invalidation for a guest: its translations, and no others. */
export function forGuest(command: Uint32Array, gscid: number): Uint32Array {
  const safe = command.slice()
  setField(safe, IOTINVAL.fields.GV, 1)
  setField(safe, IOTINVAL.fields.GSCID, gscid)
  return safe
}
