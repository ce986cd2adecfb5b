/** Records of the fault queue and the page-request queue. RISC-V IOMMU 1.0, "Fault/Event-Queue (FQ)", "Page-Request-Queue (PQ)". */
import { addr, flag, layout, oneOf, uint } from '../../base/layout.ts'

/** Fault record CAUSE, as the specification names them. */
export const CAUSES: Readonly<Record<number, string>> = {
  1: 'Instruction access fault',
  4: 'Read address misaligned',
  5: 'Read access fault',
  6: 'Write/AMO address misaligned',
  7: 'Write/AMO access fault',
  12: 'Instruction page fault',
  13: 'Read page fault',
  15: 'Write/AMO page fault',
  20: 'Instruction guest page fault',
  21: 'Read guest-page fault',
  23: 'Write/AMO guest-page fault',
  256: 'All inbound transactions disallowed',
  257: 'DDT entry load access fault',
  258: 'DDT entry not valid',
  259: 'DDT entry misconfigured',
  260: 'Transaction type disallowed',
  261: 'MSI PTE load access fault',
  262: 'MSI PTE not valid',
  263: 'MSI PTE misconfigured',
  264: 'MRIF access fault',
  265: 'PDT entry load access fault',
  266: 'PDT entry not valid',
  267: 'PDT entry misconfigured',
  268: 'DDT data corruption',
  269: 'PDT data corruption',
  270: 'MSI PT data corruption',
  271: 'MSI MRIF data corruption',
  272: 'Internal data path error',
  273: 'IOMMU MSI write access fault',
  274: 'First/second-stage PT data corruption',
}

export const CAUSE_ALL_DISALLOWED = 256
export const CAUSE_DDT_LOAD = 257
export const CAUSE_DDT_INVALID = 258
export const CAUSE_DDT_MISCONFIGURED = 259
export const CAUSE_TYPE_DISALLOWED = 260
export const CAUSE_MSI_LOAD = 261
export const CAUSE_MSI_INVALID = 262
export const CAUSE_MSI_MISCONFIGURED = 263
export const CAUSE_PDT_LOAD = 265
export const CAUSE_PDT_INVALID = 266
export const CAUSE_PDT_MISCONFIGURED = 267
export const CAUSE_DDT_CORRUPT = 268
export const CAUSE_PDT_CORRUPT = 269
export const CAUSE_MSI_CORRUPT = 270
export const CAUSE_INTERNAL = 272
export const CAUSE_MSI_WRITE = 273
export const CAUSE_PT_CORRUPT = 274

/** Whether a fault of this cause is reported where DC.tc.DTF is 1: the last column of the table of causes. */
export function reportedDespiteDtf(cause: number): boolean {
  return (
    (cause >= CAUSE_ALL_DISALLOWED && cause <= CAUSE_DDT_MISCONFIGURED) ||
    cause === CAUSE_DDT_CORRUPT ||
    cause === CAUSE_INTERNAL ||
    cause === CAUSE_MSI_WRITE
  )
}

/** Whether the second stage refused: then iotval2 holds a guest physical address. */
export function isGuestPageFault(cause: number): boolean {
  return cause === 20 || cause === 21 || cause === 23
}

/** Transaction types in fault records. */
export const TTYP_NONE = 0
export const TTYP_UNTRANSLATED_EXECUTE = 1
export const TTYP_UNTRANSLATED_READ = 2
export const TTYP_UNTRANSLATED_WRITE = 3
export const TTYP_TRANSLATED_EXECUTE = 5
export const TTYP_TRANSLATED_READ = 6
export const TTYP_TRANSLATED_WRITE = 7
export const TTYP_ATS_REQUEST = 8
export const TTYP_MESSAGE = 9

/** Message code of a PCIe Page Request, as fault records hold it in iotval. */
export const MESSAGE_PAGE_REQUEST = 4
/** Message code of a PCIe Invalidation Request. */
export const MESSAGE_INVALIDATION_REQUEST = 1
/** Message code of a PCIe Page Request Group Response. */
export const MESSAGE_PRG_RESPONSE = 5

/** Fault-queue record: 32 bytes. */
export const FAULT_RECORD = layout('fault record', 256, {
  CAUSE: oneOf(11, 0, CAUSES, 'what went wrong'),
  PID: uint(31, 12, 'process_id, where PV is 1'),
  PV: flag(32, 'PID is valid'),
  PRIV: flag(33, 'supervisor privilege'),
  TTYP: oneOf(
    39,
    34,
    {
      0: 'none',
      1: 'untranslated read for execute',
      2: 'untranslated read',
      3: 'untranslated write/AMO',
      5: 'translated read for execute',
      6: 'translated read',
      7: 'translated write/AMO',
      8: 'PCIe ATS translation request',
      9: 'PCIe message request',
    },
    'transaction type',
  ),
  DID: uint(63, 40, 'device_id'),
  custom: uint(95, 64, 'custom'),
  iotval: uint(191, 128, 'IOVA, or the message code'),
  iotval2: uint(255, 192, 'guest physical address; bit 0: implicit access, bit 1: it was a write'),
})

/** Page-request-queue record: 16 bytes. */
export const PAGE_REQUEST = layout('page request', 128, {
  PID: uint(31, 12, 'PASID, where PV is 1'),
  PV: flag(32, 'PID is valid'),
  PRIV: flag(33, 'privileged mode requested'),
  EXEC: flag(34, 'execute requested'),
  DID: uint(63, 40, 'device_id'),
  R: flag(64, 'read access requested'),
  W: flag(65, 'write access requested'),
  L: flag(66, 'last request of its group'),
  PRGI: uint(75, 67, 'page request group index'),
  PageAddress: addr(127, 76, 'page', 12),
})
