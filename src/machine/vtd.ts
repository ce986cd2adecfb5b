/** A machine with an Intel VT-d IOMMU: which options a scenario has, and our words for its faults. */
import { describe } from '../base/layout.ts'
import { IommError } from '../core/error.ts'
import { descriptorName, kindOf } from '../driver/vtd/command-queue.ts'
import { VtdDriver, type VtdDriverOptions } from '../driver/vtd/driver.ts'
import { DESCRIPTORS, descriptorType } from '../format/vtd/descriptors.ts'
import * as fault from '../format/vtd/faults.ts'
import { VtdIommu } from '../model/vtd/iommu.ts'
import type { VtdOptions } from '../model/vtd/options.ts'
import type { Architecture, Hardware, SeenCommand, Wanted } from './architecture.ts'
import { commandText, type FieldWords } from './command-text.ts'
import { hardware } from './hardware.ts'
import { lacksStalls } from './impossible.ts'
import { object, optional, type Read } from './language/object.ts'
import { flag, integer, oneOf } from './language/shape.ts'
import type { FaultKind } from './language/words.ts'
import { startGuest } from './vtd-guest.ts'
import { powerOfTwo, x86Cpus } from './x86.ts'

const cacheKeys = {
  iotlb: optional(integer(0, 1 << 20), 'Translations that the IOTLB holds, rounded up to a power of two; 0: off.'),
  config: optional(integer(0, 1 << 16), 'Context entries, and PASID table entries, that are kept, rounded up likewise; 0: off.'),
}

const keys = {
  mode: optional(
    oneOf(['scalable', 'legacy'], { scalable: 'PASID tables', legacy: 'second stages only, no PASIDs' }),
    'Translation table mode (RTADDR.TTM); by default scalable.',
  ),
  stage: optional(
    oneOf(['1', '2']),
    'Stage that translates dma domains; by default 1, in legacy mode 2. Processes are shared at the first stage, whatever this says.',
  ),
  levels: optional(oneOf(['3', '4', '5']), 'Levels of second-stage tables (CAP.SAGAW); by default 4.'),
  firstLevels: optional(oneOf(['4', '5']), 'Levels of first-stage tables of ours; by default 4.'),
  addressWidth: optional(integer(36, 52), 'Host address width, in bits; by default 52.'),
  pasidBits: optional(integer(0, 20), 'Width of PASIDs (ECAP.PSS); 0: none (ECAP.PASID). By default 20.'),
  ats: optional(flag, 'Whether it answers translation requests (ECAP.DT); by default true.'),
  pri: optional(flag, 'Whether it takes page requests (ECAP.PRS); by default true.'),
  stall: optional(
    oneOf(['yes', 'no', 'forced']),
    'A VT-d IOMMU cannot hold a transaction, so only no is possible: faults of devices wait as page requests (PRI).',
  ),
  identity: optional(
    oneOf(['pass-through', 'mapped'], { mapped: 'a second stage that maps each address to itself' }),
    'How identity domains pass addresses as they are; by default pass-through.',
  ),
  descriptors: optional(
    oneOf(['128', '256']),
    'Bits of an invalidation descriptor (IQA.DW); by default 256 in scalable mode, which needs them, and 128 in legacy mode.',
  ),
  commandQueue: optional(integer(7, 15), 'log2 of the entries of the invalidation queue, in whole pages; by default a page.'),
  eventQueue: optional(integer(0, 7), 'log2 of the number of fault recording registers (CAP.NFR); by default 3.'),
  pageRequestQueue: optional(integer(7, 14), 'log2 of the entries of the page request queue; by default 7, a page.'),
  caches: optional(object('caches', cacheKeys), 'Sizes of its caches.'),
}
type Options = Partial<Read<typeof keys>>

function modelOptions(options: Options): VtdOptions {
  const { iotlb, config } = options.caches ?? {}
  const bits = options.pasidBits ?? 20
  return {
    hostAddressBits: options.addressWidth ?? 52,
    cap: { NFR: 2 ** (options.eventQueue ?? 3) - 1 },
    ecap: {
      ...(bits === 0 ? { PASID: 0, PSS: 0 } : { PSS: bits - 1 }),
      ...(options.ats === false ? { DT: 0, PRS: 0, PDS: 0, DIT: 0 } : {}),
      ...(options.pri === false ? { PRS: 0, PDS: 0 } : {}),
    },
    caches: {
      ...(iotlb === undefined ? {} : { translations: powerOfTwo(iotlb) }),
      ...(config === undefined ? {} : { contexts: powerOfTwo(config), pasids: powerOfTwo(config) }),
    },
    // Descriptors take their turn like everything else that runs beside the OS side.
    deferred: true,
  }
}

function driverOptions(options: Options): VtdDriverOptions {
  return {
    mode: options.mode ?? 'scalable',
    hostAddressBits: options.addressWidth ?? 52,
    ...(options.stage === undefined ? {} : { domainStage: options.stage === '1' ? 1 : 2 }),
    ...(options.levels === undefined ? {} : { secondLevels: Number(options.levels) as 3 | 4 | 5 }),
    ...(options.firstLevels === undefined ? {} : { firstLevels: Number(options.firstLevels) as 4 | 5 }),
    ...(options.identity === undefined ? {} : { identity: options.identity }),
    ...(options.descriptors === undefined ? {} : { descriptorBits: options.descriptors === '128' ? 128 : 256 }),
    ...(options.commandQueue === undefined ? {} : { invalidationQueueLog2: options.commandQueue }),
    ...(options.pageRequestQueue === undefined ? {} : { pageRequestQueueLog2: options.pageRequestQueue }),
  }
}

/** A second stage has no present bit: what is not mapped permits nothing. */
const NOTHING_PERMITTED: readonly FaultKind[] = ['not-mapped', 'no-permission']
/** FPD tells a device in no domain from one that nobody knows; the reason is the same. */
const NO_CONTEXT: readonly FaultKind[] = ['no-device', 'blocked']

const KINDS: ReadonlyMap<number, readonly FaultKind[]> = new Map<number, readonly FaultKind[]>([
  [fault.FR_ROOT_NOT_PRESENT, ['no-device']],
  [fault.FR_CONTEXT_NOT_PRESENT, NO_CONTEXT],
  [fault.FR_CONTEXT_INVALID, ['no-device']],
  [fault.FR_CONTEXT_RESERVED, ['no-device']],
  [fault.FR_ADDRESS_TOO_WIDE, ['out-of-range']],
  [fault.FR_NO_WRITE, NOTHING_PERMITTED],
  [fault.FR_NO_READ, NOTHING_PERMITTED],
  [fault.FR_TRANSLATION_BLOCKED, ['blocked']],
  [fault.FR_INTERRUPT_RANGE, ['out-of-range']],
  [fault.FR_LEGACY_PASID, ['no-pasid']],
  [fault.FR_LEGACY_PAGE_REQUEST, ['no-pasid']],
  [fault.FR_ABORT_DMA, ['blocked']],
  [fault.FR_SM_ROOT_NOT_PRESENT, ['no-device']],
  [fault.FR_SM_CONTEXT_NOT_PRESENT, NO_CONTEXT],
  [fault.FR_SM_CONTEXT_RESERVED, ['no-device']],
  [fault.FR_SM_CONTEXT_INVALID, ['no-device']],
  [fault.FR_SM_NO_DTE, ['blocked']],
  [fault.FR_SM_NO_PRE, ['blocked']],
  [fault.FR_SM_NO_PASIDE, ['no-pasid']],
  [fault.FR_SM_PASID_TOO_LARGE, ['no-pasid']],
  [fault.FR_SM_RID_PASID, ['no-pasid']],
  [fault.FR_SM_PASID_UNSUPPORTED, ['no-pasid']],
  [fault.FR_PASID_RESERVED, ['no-pasid']],
  [fault.FR_PASID_INVALID, ['no-pasid']],
  [fault.FR_NO_ERE, ['no-permission']],
  [fault.FR_NO_SRE, ['no-permission']],
  [fault.FR_FS_NOT_PRESENT, ['not-mapped']],
  [fault.FR_FS_NESTED_WIDE, ['out-of-range']],
  [fault.FR_FS_NESTED_ROOT_READ, NOTHING_PERMITTED],
  [fault.FR_FS_NESTED_READ, NOTHING_PERMITTED],
  [fault.FR_FS_NESTED_WRITE, NOTHING_PERMITTED],
  [fault.FR_SS_NOT_PRESENT, ['not-mapped']],
  [fault.FR_FS_AD_NO_SNOOP, ['no-access-flag']],
  [fault.FR_FS_AD_FAILED, ['no-access-flag']],
  [fault.FR_SS_AD_NO_SNOOP, ['no-access-flag']],
  [fault.FR_SS_AD_FAILED, ['no-access-flag']],
  [fault.FR_NON_CANONICAL, ['out-of-range']],
  [fault.FR_SUPERVISOR_PAGE, ['no-permission']],
  [fault.FR_NO_EXECUTE, ['no-permission']],
  [fault.FR_SM_HOST_TOO_WIDE, ['out-of-range']],
  [fault.FR_SS_ADDRESS_TOO_WIDE, ['out-of-range']],
  [fault.FR_SM_NO_WRITE, ['no-permission']],
  [fault.FR_SM_NO_READ, ['no-permission']],
  [fault.FR_SM_INTERRUPT_RANGE, ['out-of-range']],
  [fault.FR_SM_TRANSLATED_INTERRUPT_RANGE, ['out-of-range']],
])

/** Structures that cannot be read, or are broken. */
const BROKEN = new Set<number>([
  fault.FR_PAGE_TABLE_ACCESS,
  fault.FR_ROOT_ACCESS,
  fault.FR_CONTEXT_ACCESS,
  fault.FR_ROOT_RESERVED,
  fault.FR_PAGE_TABLE_RESERVED,
  fault.FR_RTADDR_INVALID,
  fault.FR_SM_ROOT_ACCESS,
  fault.FR_SM_ROOT_RESERVED,
  fault.FR_SM_CONTEXT_ACCESS,
  fault.FR_PASID_DIR_ACCESS,
  fault.FR_PASID_DIR_RESERVED,
  fault.FR_PASID_ACCESS,
  fault.FR_FS_ACCESS,
  fault.FR_FS_RESERVED,
  fault.FR_FS_ROOT_ACCESS,
  fault.FR_SS_ACCESS,
  fault.FR_SS_RESERVED,
  fault.FR_SS_ROOT_ACCESS,
])

function faultKinds({ code, pasid }: { readonly code: number; readonly pasid: number | null }): readonly FaultKind[] {
  // Without a PASID it is entry 0 that nothing may use.
  if (code === fault.FR_PASID_NOT_PRESENT || code === fault.FR_PASID_DIR_NOT_PRESENT)
    return [pasid === null ? 'blocked' : 'no-pasid']
  return BROKEN.has(code) ? ['bad-table'] : (KINDS.get(code) ?? [])
}

const WORDS: FieldWords = {
  short: {
    SID: 'sid',
    RID: 'rid',
    PASID: 'pasid',
    DID: 'did',
    ADDR: 'at',
    PRGI: 'group',
    G: 'by',
    RC: 'answer',
    PD: 'drains page requests',
  },
  silent: new Set([
    'TYPE',
    'TYPE_HIGH',
    'MIP',
    'PFSID_LOW',
    'PFSID_HIGH',
    'DR',
    'DW',
    'IH',
    'S',
    'PP',
    'LPIG',
    'SW',
    'FN',
    'STADDR',
    'STDATA',
  ]),
  told: new Set(['SID', 'RID', 'PRGI', 'RC']),
  hex: new Set(['SID', 'RID', 'ADDR']),
  order: ['G', 'SID', 'RID', 'DID', 'PASID'],
}

/** A descriptor in words. */
function seen(words: Uint32Array): SeenCommand {
  const kind = kindOf(words)
  const layout = DESCRIPTORS[descriptorType(words[0]!)]
  const text = layout === undefined ? '' : commandText(describe(layout, words), WORDS)
  return { name: descriptorName(words), text, cache: kind === 'sync' ? null : kind }
}

function build(wanted: Wanted): Hardware {
  const options = wanted.options as Options
  if ((options.stall ?? 'no') !== 'no')
    throw new IommError('Unsupported', 'a VT-d IOMMU cannot hold a faulting transaction (stall): devices need ATS and PRI')
  const model = new VtdIommu(wanted.memory, modelOptions(options))
  const driver = new VtdDriver(model, wanted.memory, driverOptions(options))
  return hardware(model, driver, wanted.watch, seen, startGuest)
}

export const vtd: Architecture = {
  kind: 'vtd',
  title: 'Intel VT-d',
  doc: 'Intel VT-d (specification 4.1), in scalable or in legacy mode.',
  keys,
  faultNames: fault.FAULT_REASONS.map(({ name }) => name),
  faultKinds,
  lacks: lacksStalls('a VT-d IOMMU'),
  traits: ['valid-only', 'sets-flags'],
  lacksPasids: (options) =>
    (options as Options).mode === 'legacy' ? 'legacy mode has no PASIDs, so devices and processes share nothing' : null,
  cpu: x86Cpus,
  build,
}
