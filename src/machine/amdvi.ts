/** A machine with an AMD IOMMU: which options a scenario has, and our words for its events. */
import { type DescribedField, decode, describe, encode, wordsFromU64, wordsToU64 } from '../base/layout.ts'
import { IommError } from '../core/error.ts'
import { commandName, kindOf } from '../driver/amdvi/command-buffer.ts'
import { AmdDriver, type AmdDriverOptions } from '../driver/amdvi/driver.ts'
import { COMMANDS, INVALIDATE_IOTLB_PAGES, iotlbPasid, opcodeOf } from '../format/amdvi/commands.ts'
import * as event from '../format/amdvi/events.ts'
import { EXT_FEATURE, FULL_EXT_FEATURE, FULL_EXT_FEATURE2 } from '../format/amdvi/registers.ts'
import { AmdIommu } from '../model/amdvi/iommu.ts'
import type { AmdChoices } from '../model/amdvi/options.ts'
import { startGuest } from './amdvi-guest.ts'
import type { Architecture, Hardware, SeenCommand, Wanted } from './architecture.ts'
import { commandText, type FieldWords } from './command-text.ts'
import { hardware } from './hardware.ts'
import { lacksStalls } from './impossible.ts'
import { object, optional, type Read } from './language/object.ts'
import { flag, integer, oneOf } from './language/shape.ts'
import type { FaultKind } from './language/words.ts'
import { powerOfTwo, x86Cpus } from './x86.ts'

const cacheKeys = {
  iotlb: optional(integer(0, 1 << 20), 'Translations that the IOTLB holds, rounded up to a power of two; 0: off.'),
  config: optional(integer(0, 1 << 16), 'Device table entries, and GCR3 entries, that are kept, rounded up likewise; 0: off.'),
}

const keys = {
  tables: optional(
    oneOf(['v1', 'v2'], { v1: 'host tables, beside which no process is shared', v2: 'guest tables behind GCR3 entry 0' }),
    'Tables of dma domains; by default v2.',
  ),
  levels: optional(oneOf(['3', '4', '5', '6']), 'Levels of host tables (DTE.Mode); by default 4.'),
  gcr3Levels: optional(
    oneOf(['1', '2', '3']),
    'Levels of GCR3 tables (DTE.GLX): PASIDs of 9, 18 and 20 bits; by default as few as the devices of a domain need.',
  ),
  pasidBits: optional(
    integer(0, 20),
    'Width of PASIDs (EXT_FEATURE.PASmax); 0: none, and no guest tables (GTSup). By default 20.',
  ),
  pri: optional(flag, 'Whether it takes page requests (EXT_FEATURE.PPRSup); by default true.'),
  stall: optional(
    oneOf(['yes', 'no', 'forced']),
    'An AMD IOMMU cannot hold a transaction, so only no is possible: faults of devices wait as page requests (PRI).',
  ),
  commandQueue: optional(integer(8, 15), 'log2 of the entries of the command buffer; by default 8, a page.'),
  eventQueue: optional(integer(8, 15), 'log2 of the entries of the event log; by default 8, a page.'),
  pageRequestQueue: optional(integer(8, 15), 'log2 of the entries of the PPR log; by default 8, a page.'),
  caches: optional(object('caches', cacheKeys), 'Sizes of its caches.'),
}
type Options = Partial<Read<typeof keys>>

/** EXT_FEATURE of the scenario's choices. */
function featuresOf({ pasidBits = 20, pri }: Options): bigint {
  const full = decode(EXT_FEATURE, wordsFromU64([FULL_EXT_FEATURE]))
  const changes = {
    ...(pasidBits === 0 ? { GTSup: 0, GIOSup: 0, PASmax: 0 } : { PASmax: pasidBits - 1 }),
    ...(pri === false ? { PPRSup: 0, PprAutoRspSup: 0, EPHSup: 0 } : {}),
  }
  return wordsToU64(encode(EXT_FEATURE, { ...full, ...changes }))[0]!
}

function modelOptions(options: Options): AmdChoices {
  const { iotlb, config } = options.caches ?? {}
  return {
    efr: featuresOf(options),
    efr2: FULL_EXT_FEATURE2,
    caches: {
      ...(iotlb === undefined ? {} : { translations: powerOfTwo(iotlb) }),
      ...(config === undefined ? {} : { devices: powerOfTwo(config), contexts: powerOfTwo(config) }),
    },
    // Commands take their turn like everything else that runs beside the OS side.
    deferred: true,
  }
}

function driverOptions(options: Options, { cpu, largestDevice }: Wanted): AmdDriverOptions {
  return {
    largestDevice,
    // One number of levels for all PASIDs of a device: that of the CPU's tables.
    guestLevels: cpu.topDepth === 4 ? 5 : 4,
    ...(options.tables === undefined ? {} : { tables: options.tables }),
    ...(options.levels === undefined ? {} : { hostLevels: Number(options.levels) as 3 | 4 | 5 | 6 }),
    ...(options.gcr3Levels === undefined ? {} : { gcr3Levels: Number(options.gcr3Levels) as 1 | 2 | 3 }),
    ...(options.commandQueue === undefined ? {} : { commandBufferLog2: options.commandQueue }),
    ...(options.eventQueue === undefined ? {} : { eventLogLog2: options.eventQueue }),
    ...(options.pageRequestQueue === undefined ? {} : { pprLogLog2: options.pageRequestQueue }),
  }
}

/** Of IO_PAGE_FAULT, in the second half of the first 64-bit word. */
const PR = BigInt(event.EVENT1_PR) << 32n
const PE = BigInt(event.EVENT1_PE) << 32n
const TR = BigInt(event.EVENT1_TR) << 32n

/** There is one event for all that page tables and their absence lead to, and PR and PE tell a little; nothing is recorded of ATS. */
function pageFaultKinds(pasid: number | null, record: readonly bigint[] | null): readonly FaultKind[] {
  // Without a PASID it is entry 0 that nothing may use.
  const missing: FaultKind = pasid === null ? 'blocked' : 'no-pasid'
  const word = record?.[0]
  if (word === undefined) return [missing, 'not-mapped', 'no-permission', 'out-of-range']
  if ((word & PR) === 0n) return [missing, 'not-mapped', 'out-of-range', 'no-device']
  return (word & PE) === 0n ? ['bad-table'] : ['no-permission', 'blocked']
}

/** What a device may not send: ATS where it has none, or to an address that has a meaning of its own. */
function requestKinds(record: readonly bigint[] | null): readonly FaultKind[] {
  const word = record?.[0]
  if (word === undefined) return ['blocked', 'out-of-range']
  const type = Number((word >> 57n) & 7n)
  const ats = (word & TR) === 0n ? type === event.REQUEST_PRETRANSLATED : type === event.REQUEST_ATS_DISABLED
  return ats ? ['blocked'] : ['out-of-range']
}

const faultKinds: Architecture['faultKinds'] = ({ code, pasid, record = null }) => {
  switch (code) {
    case event.IO_PAGE_FAULT:
      return pageFaultKinds(pasid, record)
    case event.INVALID_DEVICE_REQUEST:
      return requestKinds(record)
    case event.INVALID_PPR_REQUEST:
      return ['blocked', 'no-pasid']
    case event.ILLEGAL_DEV_TABLE_ENTRY:
      return ['no-device']
    case event.DEV_TAB_HARDWARE_ERROR:
    case event.PAGE_TAB_HARDWARE_ERROR:
      return ['bad-table']
    default:
      return []
  }
}

const WORDS: FieldWords = {
  short: {
    DeviceID: 'device',
    DomainID: 'domain',
    PASID: 'pasid',
    Address: 'at',
    CompletionTag: 'group',
    Response: 'answer',
    PDE: 'with',
  },
  silent: new Set([
    'OpCode',
    'S',
    'GN',
    'I',
    'F',
    'StoreAddress',
    'StoreData',
    'QueueID',
    'Maxpend',
    'PASID[15:8]',
    'PASID[7:0]',
    'PASID[19:16]',
  ]),
  told: new Set(['DeviceID', 'DomainID', 'CompletionTag', 'Response']),
  hex: new Set(['DeviceID', 'Address']),
  order: ['DeviceID', 'DomainID', 'PASID', 'Address'],
}

/** With S: the address that stands for all of them, its bit 63 being the lowest clear one. */
const EVERYWHERE = 0x7fff_ffff_ffff_f000n

/** A field whose value says nothing to people. */
function inWords(field: DescribedField): DescribedField {
  if (field.name === 'PDE' && field.value === 1) return { ...field, means: 'entries above the leaves' }
  return field.name === 'Address' && field.value === EVERYWHERE ? { ...field, means: 'any address' } : field
}

/** A command in words. */
function seen(words: Uint32Array): SeenCommand {
  const kind = kindOf(words)
  const layout = COMMANDS.get(opcodeOf(words))?.layout
  const fields = layout === undefined ? [] : describe(layout, words).map(inWords)
  if (layout === INVALIDATE_IOTLB_PAGES && iotlbPasid(words) !== 0)
    fields.push({ name: 'PASID', msb: 19, lsb: 0, value: iotlbPasid(words), means: null, doc: '' })
  return { name: commandName(words), text: commandText(fields, WORDS), cache: kind === 'sync' ? null : kind }
}

function build(wanted: Wanted): Hardware {
  const options = wanted.options as Options
  if ((options.stall ?? 'no') !== 'no')
    throw new IommError('Unsupported', 'an AMD IOMMU cannot hold a faulting transaction (stall): devices need ATS and PRI')
  const model = new AmdIommu(wanted.memory, modelOptions(options))
  const driver = new AmdDriver(model, wanted.memory, driverOptions(options, wanted))
  return hardware(model, driver, wanted.watch, seen, startGuest)
}

export const amdvi: Architecture = {
  kind: 'amdvi',
  title: 'AMD-Vi',
  doc: 'AMD IOMMU (specification 48882), with guest tables (v2) or host tables (v1).',
  keys,
  faultNames: [...event.EVENTS.values()].map(({ name }) => name),
  faultKinds,
  lacks: lacksStalls('an AMD IOMMU'),
  traits: ['valid-only', 'sets-flags'],
  lacksPasids(options) {
    const { tables, pasidBits } = options as Options
    if (pasidBits === 0) return 'the IOMMU has no guest tables, so no PASIDs'
    return tables === 'v1'
      ? 'with host tables (v1) there are no guest tables for PASIDs, so devices and processes share nothing'
      : null
  },
  cpu: x86Cpus,
  build,
}
