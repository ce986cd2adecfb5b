/**
 * Fault reasons. Intel VT-d 4.1: section 7.1.3 (address translation) and section 5.1.4.1 (interrupt remapping), where each condition has
 * a name like `LCT.2`. A qualified fault is not recorded where FPD is 1 in the entry that served the request; the others always are.
 */

export interface FaultReason {
  readonly code: number
  /** The specification's name; several conditions may share a code. */
  readonly name: string
  /** When it is reported. */
  readonly condition: string
  /** Not recorded where FPD (fault processing disable) is 1. */
  readonly qualified: boolean
  /** What the code is about: which mode's tables, or interrupts. */
  readonly group: 'legacy' | 'scalable' | 'interrupt'
}

/** Legacy mode. */
export const FR_ROOT_NOT_PRESENT = 0x01
export const FR_CONTEXT_NOT_PRESENT = 0x02
export const FR_CONTEXT_INVALID = 0x03
export const FR_ADDRESS_TOO_WIDE = 0x04
export const FR_NO_WRITE = 0x05
export const FR_NO_READ = 0x06
export const FR_PAGE_TABLE_ACCESS = 0x07
export const FR_ROOT_ACCESS = 0x08
export const FR_CONTEXT_ACCESS = 0x09
export const FR_ROOT_RESERVED = 0x0a
export const FR_CONTEXT_RESERVED = 0x0b
export const FR_PAGE_TABLE_RESERVED = 0x0c
export const FR_TRANSLATION_BLOCKED = 0x0d
export const FR_INTERRUPT_RANGE = 0x0e
/** Interrupt remapping. */
export const FR_INT_REQUEST_RESERVED = 0x20
export const FR_INT_INDEX = 0x21
export const FR_IRTE_NOT_PRESENT = 0x22
export const FR_IRTE_ACCESS = 0x23
export const FR_IRTE_RESERVED = 0x24
export const FR_INT_COMPATIBILITY = 0x25
export const FR_INT_SOURCE = 0x26
export const FR_PI_ACCESS = 0x27
export const FR_PI_RESERVED = 0x28
export const FR_INT_REQUEST = 0x29
/** Root table address register. */
export const FR_RTADDR_INVALID = 0x30
export const FR_LEGACY_PASID = 0x31
export const FR_LEGACY_PAGE_REQUEST = 0x32
export const FR_ABORT_DMA = 0x33
/** Scalable mode: root, context, PASID directory, PASID table. */
export const FR_SM_ROOT_ACCESS = 0x38
export const FR_SM_ROOT_NOT_PRESENT = 0x39
export const FR_SM_ROOT_RESERVED = 0x3a
export const FR_SM_CONTEXT_ACCESS = 0x40
export const FR_SM_CONTEXT_NOT_PRESENT = 0x41
export const FR_SM_CONTEXT_RESERVED = 0x42
export const FR_SM_CONTEXT_INVALID = 0x43
export const FR_SM_NO_DTE = 0x44
export const FR_SM_NO_PASIDE = 0x45
export const FR_SM_PASID_TOO_LARGE = 0x46
export const FR_SM_NO_PRE = 0x47
export const FR_SM_RID_PASID = 0x48
export const FR_PASID_DIR_ACCESS = 0x50
export const FR_PASID_DIR_NOT_PRESENT = 0x51
export const FR_PASID_DIR_RESERVED = 0x52
export const FR_PASID_ACCESS = 0x58
export const FR_PASID_NOT_PRESENT = 0x59
export const FR_PASID_RESERVED = 0x5a
export const FR_PASID_INVALID = 0x5b
export const FR_NO_ERE = 0x5c
export const FR_NO_SRE = 0x5d
/** Scalable mode: first stage. */
export const FR_FS_ACCESS = 0x70
export const FR_FS_NOT_PRESENT = 0x71
export const FR_FS_RESERVED = 0x72
export const FR_FS_ROOT_ACCESS = 0x73
export const FR_FS_NESTED_WIDE = 0x74
export const FR_FS_NESTED_ROOT_READ = 0x75
export const FR_FS_NESTED_READ = 0x76
export const FR_FS_NESTED_WRITE = 0x77
export const FR_FS_AD_NO_SNOOP = 0x90
export const FR_FS_AD_FAILED = 0x91
/** Scalable mode: second stage. */
export const FR_SS_ACCESS = 0x78
export const FR_SS_NOT_PRESENT = 0x79
export const FR_SS_RESERVED = 0x7a
export const FR_SS_ROOT_ACCESS = 0x7b
export const FR_SS_AD_NO_SNOOP = 0x7c
export const FR_SS_AD_FAILED = 0x7d
/** Scalable mode: any stage. */
export const FR_NON_CANONICAL = 0x80
export const FR_SUPERVISOR_PAGE = 0x81
export const FR_NO_EXECUTE = 0x82
export const FR_SM_HOST_TOO_WIDE = 0x83
export const FR_SS_ADDRESS_TOO_WIDE = 0x84
export const FR_SM_NO_WRITE = 0x85
export const FR_SM_NO_READ = 0x86
export const FR_SM_INTERRUPT_RANGE = 0x87
export const FR_SM_TRANSLATED_INTERRUPT_RANGE = 0x88
export const FR_SM_PASID_UNSUPPORTED = 0x89

const legacy = (code: number, name: string, condition: string, qualified: boolean): FaultReason => ({
  code,
  name,
  condition,
  qualified,
  group: 'legacy',
})
const scalable = (code: number, name: string, condition: string, qualified: boolean): FaultReason => ({
  ...legacy(code, name, condition, qualified),
  group: 'scalable',
})
const interrupt = (code: number, name: string, condition: string, qualified: boolean): FaultReason => ({
  ...legacy(code, name, condition, qualified),
  group: 'interrupt',
})

/** All of them, by code. */
export const FAULT_REASONS: readonly FaultReason[] = [
  legacy(FR_ROOT_NOT_PRESENT, 'LRT.2', 'root entry is not present', false),
  legacy(FR_CONTEXT_NOT_PRESENT, 'LCT.2', 'context entry is not present', true),
  legacy(FR_CONTEXT_INVALID, 'LCT.4', 'context entry is invalid: TT or AW is not supported', true),
  legacy(FR_ADDRESS_TOO_WIDE, 'LGN.1', 'address is wider than the guest address width', true),
  legacy(FR_NO_WRITE, 'LGN.2', 'write (or AtomicOp) without write permission', true),
  legacy(FR_NO_READ, 'LGN.3', 'read (or AtomicOp) without read permission', true),
  legacy(FR_PAGE_TABLE_ACCESS, 'LSS.1', 'second-stage entry cannot be read', true),
  legacy(FR_ROOT_ACCESS, 'LRT.1', 'root entry cannot be read', false),
  legacy(FR_CONTEXT_ACCESS, 'LCT.1', 'context entry cannot be read', false),
  legacy(FR_ROOT_RESERVED, 'LRT.3', 'reserved bits are set in a present root entry', false),
  legacy(FR_CONTEXT_RESERVED, 'LCT.3', 'reserved bits are set in a present context entry', true),
  legacy(FR_PAGE_TABLE_RESERVED, 'LSS.2', 'reserved bits are set in a present second-stage entry', true),
  legacy(
    FR_TRANSLATION_BLOCKED,
    'LCT.5',
    'translation request or translated request, which TT of the context entry blocks',
    true,
  ),
  legacy(FR_INTERRUPT_RANGE, 'LGN.4', 'translation leads into the interrupt address range', true),
  interrupt(FR_INT_REQUEST_RESERVED, '20h', 'reserved bits are set in a remappable interrupt request', false),
  interrupt(FR_INT_INDEX, '21h', 'interrupt index is beyond the interrupt remapping table', false),
  interrupt(FR_IRTE_NOT_PRESENT, '22h', 'interrupt remapping table entry is not present', true),
  interrupt(FR_IRTE_ACCESS, '23h', 'interrupt remapping table entry cannot be read', false),
  interrupt(FR_IRTE_RESERVED, '24h', 'reserved bits are set in a present interrupt remapping table entry', true),
  interrupt(FR_INT_COMPATIBILITY, '25h', 'compatibility format interrupt is blocked', false),
  interrupt(FR_INT_SOURCE, '26h', 'source-id is not that of the interrupt remapping table entry', true),
  interrupt(FR_PI_ACCESS, '27h', 'posted-interrupt descriptor cannot be read or written', true),
  interrupt(FR_PI_RESERVED, '28h', 'reserved bits are set in a posted-interrupt descriptor', true),
  interrupt(FR_INT_REQUEST, '29h', 'untranslated request to the interrupt address range that is no interrupt', false),
  scalable(
    FR_RTADDR_INVALID,
    'RTA.1',
    'RTADDR is invalid: TTM is not supported, or the table is beyond the host address width',
    false,
  ),
  scalable(FR_LEGACY_PASID, 'RTA.2', 'request with PASID in legacy mode (TTM is 0)', false),
  scalable(FR_LEGACY_PAGE_REQUEST, 'RTA.3', 'page request in legacy mode (TTM is 0)', false),
  scalable(FR_ABORT_DMA, 'RTA.4', 'request in abort-DMA mode (TTM is 3)', false),
  scalable(FR_SM_ROOT_ACCESS, 'SRT.1', 'root entry cannot be read', false),
  scalable(FR_SM_ROOT_NOT_PRESENT, 'SRT.2', 'half of the root entry (LP or UP) is not present', false),
  scalable(FR_SM_ROOT_RESERVED, 'SRT.3', 'reserved bits are set in a present half of a root entry', false),
  scalable(FR_SM_CONTEXT_ACCESS, 'SCT.1', 'context entry cannot be read', false),
  scalable(FR_SM_CONTEXT_NOT_PRESENT, 'SCT.2', 'context entry is not present', true),
  scalable(FR_SM_CONTEXT_RESERVED, 'SCT.3', 'reserved bits are set in a present context entry', true),
  scalable(
    FR_SM_CONTEXT_INVALID,
    'SCT.4',
    'context entry is invalid: PRE without DTE, or RID_PASID is beyond the PASID directory',
    true,
  ),
  scalable(FR_SM_NO_DTE, 'SCT.5', 'translation request or translated request, and DTE is 0', true),
  scalable(FR_SM_NO_PASIDE, 'SCT.6', 'request with PASID, and PASIDE is 0', true),
  scalable(FR_SM_PASID_TOO_LARGE, 'SCT.7', 'PASID is beyond the PASID directory (PDTS)', true),
  scalable(FR_SM_NO_PRE, 'SCT.8', 'page request, and PRE is 0', true),
  scalable(FR_SM_RID_PASID, 'SCT.9', 'request with a PASID that is the RID_PASID of its device', true),
  scalable(FR_PASID_DIR_ACCESS, 'SPD.1', 'PASID directory entry cannot be read', false),
  scalable(FR_PASID_DIR_NOT_PRESENT, 'SPD.2', 'PASID directory entry is not present', true),
  scalable(FR_PASID_DIR_RESERVED, 'SPD.3', 'reserved bits are set in a present PASID directory entry', true),
  scalable(FR_PASID_ACCESS, 'SPT.1', 'PASID table entry cannot be read', false),
  scalable(FR_PASID_NOT_PRESENT, 'SPT.2', 'PASID table entry is not present', true),
  scalable(FR_PASID_RESERVED, 'SPT.3', 'reserved bits are set in a present PASID table entry', true),
  scalable(
    FR_PASID_INVALID,
    'SPT.4',
    'PASID table entry is invalid: PGTT, AW or FSPM is not supported, or a nested FSPTPTR is too wide',
    true,
  ),
  scalable(FR_NO_ERE, 'SPT.5', 'execute request, and ERE is 0', true),
  scalable(FR_NO_SRE, 'SPT.6', 'privileged request, and SRE is 0', true),
  scalable(FR_FS_ACCESS, 'SFS.1', 'first-stage entry below the root table cannot be read', true),
  scalable(FR_FS_NOT_PRESENT, 'SFS.2', 'first-stage entry is not present', true),
  scalable(FR_FS_RESERVED, 'SFS.3', 'reserved bits are set in a present first-stage entry', true),
  scalable(FR_FS_ROOT_ACCESS, 'SFS.4', 'first-stage entry in the root table (FSPTPTR) cannot be read', true),
  scalable(FR_FS_NESTED_WIDE, 'SFS.5', 'nested: address of a first-stage entry is wider than the second stage', true),
  scalable(
    FR_FS_NESTED_ROOT_READ,
    'SFS.6',
    'nested: no read permission for the first-stage root table in the second stage',
    true,
  ),
  scalable(FR_FS_NESTED_READ, 'SFS.7', 'nested: no read permission for a first-stage entry in the second stage', true),
  scalable(
    FR_FS_NESTED_WRITE,
    'SFS.8',
    'nested: A or D of a first-stage entry has to be set, and the second stage does not permit it',
    true,
  ),
  scalable(FR_SS_ACCESS, 'SSS.1', 'second-stage entry below the root table cannot be read', true),
  scalable(FR_SS_NOT_PRESENT, 'SSS.2', 'second-stage entry permits neither reads nor writes', true),
  scalable(FR_SS_RESERVED, 'SSS.3', 'reserved bits are set in a present second-stage entry', true),
  scalable(FR_SS_ROOT_ACCESS, 'SSS.4', 'second-stage entry in the root table (SSPTPTR) cannot be read', true),
  scalable(FR_SS_AD_NO_SNOOP, 'SSS.5', 'A or D of a second-stage entry has to be set, and page walks do not snoop', true),
  scalable(FR_SS_AD_FAILED, 'SSS.6', 'A or D of a second-stage entry cannot be set', true),
  scalable(FR_NON_CANONICAL, 'SGN.1', 'address is not canonical for the first stage', true),
  scalable(FR_SUPERVISOR_PAGE, 'SGN.2', 'unprivileged request to a supervisor page', true),
  scalable(FR_NO_EXECUTE, 'SGN.3', 'execute request without execute permission', true),
  scalable(FR_SM_HOST_TOO_WIDE, 'SGN.4', 'address that is not translated is beyond the host address width', true),
  scalable(FR_SS_ADDRESS_TOO_WIDE, 'SGN.5', 'address is wider than the second stage', true),
  scalable(FR_SM_NO_WRITE, 'SGN.6', 'write (or AtomicOp) without write permission', true),
  scalable(FR_SM_NO_READ, 'SGN.7', 'read (or AtomicOp) without read permission', true),
  scalable(FR_SM_INTERRUPT_RANGE, 'SGN.8', 'translation leads into the interrupt address range', true),
  scalable(FR_SM_TRANSLATED_INTERRUPT_RANGE, 'SGN.9', 'translated request into the interrupt address range', true),
  scalable(FR_SM_PASID_UNSUPPORTED, 'SGN.10', 'PASID has more bits than ECAP.PSS says', true),
  scalable(FR_FS_AD_NO_SNOOP, 'SFS.9', 'A or D of a first-stage entry has to be set, and page walks do not snoop', true),
  scalable(FR_FS_AD_FAILED, 'SFS.10', 'A or D of a first-stage entry cannot be set', true),
]

const BY_CODE = new Map(FAULT_REASONS.map((reason) => [reason.code, reason]))

/** A fault reason by its code; null when the specification has none. */
export function faultReason(code: number): FaultReason | null {
  return BY_CODE.get(code) ?? null
}

/** Code → `LCT.2: context entry is not present`. */
export const FAULT_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  FAULT_REASONS.map(({ code, name, condition }) => [code, `${name}: ${condition}`]),
)

/** A fault in words, with its name and code. */
export function faultText(code: number): string {
  const reason = faultReason(code)
  const hex = `fault reason 0x${code.toString(16)}`
  return reason === null ? hex : `${reason.condition} (${reason.name}, ${hex})`
}
