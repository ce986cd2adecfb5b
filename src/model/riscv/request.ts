/** A transaction as numbers, and what comes back. RISC-V IOMMU 1.0, "Process to translate an IOVA". */
import {
  TTYP_ATS_REQUEST,
  TTYP_TRANSLATED_EXECUTE,
  TTYP_TRANSLATED_READ,
  TTYP_TRANSLATED_WRITE,
  TTYP_UNTRANSLATED_EXECUTE,
  TTYP_UNTRANSLATED_READ,
  TTYP_UNTRANSLATED_WRITE,
} from '../../format/riscv/records.ts'
import { IS_DIRTY, IS_GLOBAL, IS_MSI, PBMT_SHIFT, SIZE_MASK } from './iotlb.ts'

/** Flags of a request. */
export const REQUEST_WRITE = 1 << 0
/** Execute requested: a read for execute, where the type allows one. */
export const REQUEST_EXECUTE = 1 << 1
/** Privileged mode requested; counts only with a process_id. */
export const REQUEST_PRIVILEGED = 1 << 2
export const REQUEST_TRANSLATED = 1 << 3
export const REQUEST_ATS = 1 << 4
/** ATS: the device does not ask for write permission. */
export const REQUEST_NO_WRITE = 1 << 5
/** ATS: the device is a CXL device of type 1 or 2. */
export const REQUEST_CXL = 1 << 6
/** From the translation-request registers. */
export const REQUEST_DEBUG = 1 << 7

/** What the device sees. */
export const RESPONSE_SUCCESS = 0
export const RESPONSE_UNSUPPORTED = 1
export const RESPONSE_ABORT = 4

/** The TTYP of a fault record. */
export function transactionType(flags: number, process: number): number {
  if ((flags & REQUEST_ATS) !== 0) return TTYP_ATS_REQUEST
  if ((flags & REQUEST_TRANSLATED) !== 0) {
    if ((flags & REQUEST_WRITE) !== 0) return TTYP_TRANSLATED_WRITE
    return (flags & REQUEST_EXECUTE) !== 0 && process >= 0 ? TTYP_TRANSLATED_EXECUTE : TTYP_TRANSLATED_READ
  }
  if ((flags & REQUEST_WRITE) !== 0) return TTYP_UNTRANSLATED_WRITE
  return (flags & REQUEST_EXECUTE) !== 0 ? TTYP_UNTRANSLATED_EXECUTE : TTYP_UNTRANSLATED_READ
}

/** Rights that a request needs, as bits 0 to 2: read, write, execute. ATS: what it asks for. */
export function accessOf(flags: number, process: number): number {
  if ((flags & (REQUEST_ATS | REQUEST_EXECUTE)) === 0) return (flags & REQUEST_WRITE) !== 0 ? 2 : 1
  const write = (flags & REQUEST_WRITE) !== 0
  const execute = !write && (flags & REQUEST_EXECUTE) !== 0
  if ((flags & REQUEST_ATS) !== 0)
    return (write ? 0 : 1) | ((flags & REQUEST_NO_WRITE) === 0 ? 2 : 0) | (execute && process >= 0 ? 4 : 0)
  if (!execute) return 2
  // Without a process_id a translated read for execute is a read; with one it needs both.
  return (flags & REQUEST_TRANSLATED) === 0 ? 4 : process >= 0 ? 5 : 1
}

/** What a fault's cause depends on: execute before read before write. */
export function byAccess(access: number, execute: number, read: number, write: number): number {
  return (access & 4) !== 0 ? execute : (access & 1) !== 0 ? read : write
}

/** What came of a request. Reused: copy what must last. Words of addresses are signed 32-bit numbers. */
export class RiscvResult {
  /** 0, or the cause of the fault (also of one that an ATS request answers with Success and no access). */
  cause = 0
  /** RESPONSE_…. */
  response = RESPONSE_SUCCESS
  /** The translated address. For ATS with T2GPA: a guest physical address. */
  hi = 0
  lo = 0
  /** Size, memory type and flags as the IOATC keeps them (iotlb.ts); its bits 31:12 are not used here. */
  details = 0
  /** What both stages allow, as a mask of UR … PX in bits 5:0; above are the sizes of the leaves, as the IOATC keeps them. */
  allowed = 0
  /** MSI of a memory-resident interrupt file: the address is that of the notice page. */
  mrif = false
  /** Whether the IOATC answered. */
  cached = false
  /** iotval2 of a guest page fault. */
  iotval2Hi = 0
  iotval2Lo = 0
  /** Whether the fault is reported, and its record; whether the fault queue had room for it, only the queue says. */
  recorded = false
  readonly record = new Int32Array(8)
  /** Stage that refused: 1, 2; 0: none was reached. */
  stage = 0
  /** tc of the device context, 0 when none was found. */
  tc = 0
  /** For "Transaction type disallowed": which rule, in words. */
  rule = ''

  /** log2 of the range around the address that translates alike. */
  get sizeLog2(): number {
    return this.details & SIZE_MASK
  }

  /** Resolved memory type: 0 PMA, 1 NC, 2 IO. */
  get pbmt(): number {
    return (this.details >>> PBMT_SHIFT) & 3
  }

  /** What both stages allow, as a mask of UR … PX. */
  get rights(): number {
    return this.allowed & 63
  }

  /** The D bits allow writing without an update. */
  get dirty(): boolean {
    return (this.details & IS_DIRTY) !== 0
  }

  get global(): boolean {
    return (this.details & IS_GLOBAL) !== 0
  }

  /** The address is that of a virtual interrupt file. */
  get msi(): boolean {
    return (this.details & IS_MSI) !== 0
  }
}
