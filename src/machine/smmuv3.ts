/** A machine with an Arm SMMUv3: which options a scenario has, and our words for its events. */

import { hex } from '../base/hex.ts'
import { describe } from '../base/layout.ts'
import { kindOf } from '../driver/smmuv3/command-queue.ts'
import { SmmuV3Driver } from '../driver/smmuv3/driver.ts'
import type { SmmuV3DriverOptions } from '../driver/smmuv3/options.ts'
import { AD_FAULT, AD_IGNORE, AD_SET } from '../format/pt/format.ts'
import { type Granule, vmsav8 } from '../format/pt/vmsav8.ts'
import { commandOf } from '../format/smmuv3/commands.ts'
import * as event from '../format/smmuv3/events.ts'
import type { CpuDescription } from '../mm/system.ts'
import type { IdrOptions } from '../model/smmuv3/idr.ts'
import { SmmuV3 } from '../model/smmuv3/smmu.ts'
import type { Architecture, CpuChoice, Hardware, SeenCommand, Wanted } from './architecture.ts'
import { commandText, type FieldWords } from './command-text.ts'
import { hardware } from './hardware.ts'
import { object, optional, type Read } from './language/object.ts'
import { flag, integer, oneOf } from './language/shape.ts'
import type { FaultKind } from './language/words.ts'
import { startGuest } from './smmuv3-guest.ts'

const cacheKeys = {
  iotlb: optional(integer(0, 1 << 20), 'Translations that the IOTLB holds; 0: off.'),
  config: optional(integer(0, 1 << 16), 'Stream table entries, and context descriptors, that are kept; 0: off.'),
}

const keys = {
  stage: optional(oneOf(['1', '2']), 'Stage that translates dma domains; by default 1. Processes are shared at stage 1 only.'),
  pasidBits: optional(integer(0, 20), 'Width of SubstreamIDs (IDR1.SSIDSIZE); by default 20.'),
  asidBits: optional(oneOf(['8', '16']), 'Width of ASIDs (IDR0.ASID16); by default 16.'),
  stall: optional(oneOf(['yes', 'no', 'forced']), 'Whether transactions can stall (IDR0.STALL_MODEL); by default yes.'),
  ats: optional(flag, 'Whether it answers translation requests (IDR0.ATS); by default true.'),
  pri: optional(flag, 'Whether it takes page requests (IDR0.PRI); by default true.'),
  hardwareUpdates: optional(
    oneOf(['none', 'access', 'dirty']),
    'What it can update in page tables by itself (IDR0.HTTU); by default dirty. It does so where the CPUs do.',
  ),
  streamTable: optional(oneOf(['linear', 'two-level']), 'Form of the stream table; by default two-level.'),
  pasidTable: optional(
    oneOf(['linear', 'two-level-4K', 'two-level-64K']),
    'Form of CD tables; by default linear up to 1024 PASIDs, then two-level-64K.',
  ),
  granule: optional(oneOf(['4K', '16K', '64K']), 'Page size of io_pgtables; by default 4K.'),
  commandQueue: optional(integer(0, 19), 'log2 of the entries of the command queue; by default 8.'),
  eventQueue: optional(integer(0, 19), 'log2 of the entries of the event queue; by default 7.'),
  pageRequestQueue: optional(integer(0, 19), 'log2 of the entries of the PRI queue; by default 8.'),
  caches: optional(object('caches', cacheKeys), 'Sizes of its caches.'),
}
type Options = Partial<Read<typeof keys>>

const GRANULES: Record<'4K' | '16K' | '64K', Granule> = { '4K': 12, '16K': 14, '64K': 16 }

const KINDS: ReadonlyMap<number, FaultKind> = new Map([
  [event.C_BAD_STREAMID, 'no-device'],
  [event.C_BAD_STE, 'no-device'],
  [event.F_STE_FETCH, 'bad-table'],
  [event.F_STREAM_DISABLED, 'blocked'],
  [event.F_BAD_ATS_TREQ, 'blocked'],
  [event.F_TRANSL_FORBIDDEN, 'blocked'],
  [event.C_BAD_SUBSTREAMID, 'no-pasid'],
  [event.C_BAD_CD, 'no-pasid'],
  [event.F_CD_FETCH, 'bad-table'],
  [event.F_WALK_EABT, 'bad-table'],
  [event.F_TRANSLATION, 'not-mapped'],
  [event.F_ADDR_SIZE, 'out-of-range'],
  [event.F_ACCESS, 'no-access-flag'],
  [event.F_PERMISSION, 'no-permission'],
])

function cpu(choice: CpuChoice): CpuDescription {
  const granule = GRANULES[choice.pageSize ?? '4K']
  const inputBits = Math.min(choice.addressBits ?? 48, 48)
  const updates = choice.hardwareUpdates ?? 'none'
  return {
    format: vmsav8(granule, 'el1'),
    topDepth: Math.ceil((inputBits - granule) / (granule - 3)) - 1,
    inputBits,
    outputLimit: 2 ** 48,
    asidBits: choice.asidBits ?? 16,
    cpus: choice.cpus ?? 4,
    kpti: choice.kpti ?? false,
    accessed: updates === 'none' ? AD_FAULT : AD_SET,
    dirty: updates === 'dirty' ? AD_SET : AD_IGNORE,
    // Attribute 0 of MAIR, inner shareable, not global.
    attributesLo: (3 << 8) | (1 << 11),
  }
}

/** OAS and the other fields of the identification registers that a scenario can choose. Arm IHI 0070, 6.3.1 to 6.3.6. */
function idrOf(options: Options, streamBits: number): IdrOptions {
  return {
    SIDSIZE: Math.max(16, streamBits),
    ...(options.pasidBits === undefined ? {} : { SSIDSIZE: options.pasidBits }),
    ...(options.asidBits === undefined ? {} : { ASID16: options.asidBits === '16' ? 1 : 0 }),
    ...(options.stall === undefined ? {} : { STALL_MODEL: { yes: 0, no: 1, forced: 2 }[options.stall] }),
    ...(options.ats === undefined ? {} : { ATS: options.ats ? 1 : 0 }),
    ...(options.pri === undefined ? {} : { PRI: options.pri ? 1 : 0 }),
    ...(options.hardwareUpdates === undefined ? {} : { HTTU: { none: 0, access: 1, dirty: 2 }[options.hardwareUpdates] }),
  }
}

const STREAM_TABLES = { linear: 'linear', 'two-level': '2lvl' } as const
const CD_TABLES = { linear: 'linear', 'two-level-4K': '2lvl-4k', 'two-level-64K': '2lvl-64k' } as const

function driverOptions(options: Options, streamBits: number): SmmuV3DriverOptions {
  return {
    streamIdBits: streamBits,
    ...(options.stage === undefined ? {} : { domainStage: options.stage === '1' ? 1 : 2 }),
    ...(options.streamTable === undefined ? {} : { strtab: STREAM_TABLES[options.streamTable] }),
    ...(options.pasidTable === undefined ? {} : { cdtab: CD_TABLES[options.pasidTable] }),
    ...(options.granule === undefined ? {} : { granule: GRANULES[options.granule] }),
    ...(options.commandQueue === undefined ? {} : { commandQueueLog2: options.commandQueue }),
    ...(options.eventQueue === undefined ? {} : { eventQueueLog2: options.eventQueue }),
    ...(options.pageRequestQueue === undefined ? {} : { priQueueLog2: options.pageRequestQueue }),
  }
}

const WORDS: FieldWords = {
  short: {
    StreamID: 'sid',
    SubstreamID: 'ssid',
    ASID: 'asid',
    VMID: 'vmid',
    Address: 'at',
    PRGIndex: 'group',
    STAG: 'tag',
  },
  silent: new Set(['opcode', 'SSec', 'SSV', 'Leaf', 'TTL', 'TTL128', 'TG', 'CS', 'MSH', 'MSIAttr', 'Range', 'Global']),
  told: new Set(['StreamID', 'SubstreamID', 'ASID', 'PRGIndex', 'STAG', 'Resp', 'Ac']),
  hex: new Set(['Address', 'StreamID']),
  order: ['StreamID', 'SubstreamID'],
}

/** A command in words. */
function seen(words: Uint32Array): SeenCommand {
  const command = commandOf(words)
  const kind = kindOf(words)
  const fields = command === null ? [] : describe(command.layout, words)
  // A SubstreamID counts where SSV says so (4.5.1, 4.5.2) and in CMD_CFGI_CD.
  const without = fields.some(({ name, value }) => name === 'SSV' && value === 0)
  return {
    name: command?.name ?? `opcode ${hex(words[0]! & 0xff)}`,
    text: commandText(without ? fields.filter(({ name }) => name !== 'SubstreamID') : fields, WORDS),
    cache: kind === 'sync' ? null : kind,
  }
}

function build(wanted: Wanted): Hardware {
  const options = wanted.options as Options
  const { iotlb, config } = options.caches ?? {}
  const streamBits = Math.max(8, Math.ceil(Math.log2(wanted.largestDevice + 1)))
  const model = new SmmuV3(wanted.memory, {
    idr: idrOf(options, streamBits),
    caches: { ...(iotlb === undefined ? {} : { tlb: iotlb }), ...(config === undefined ? {} : { config }) },
    negativeCaching: true,
    // Commands take their turn like everything else that runs beside the OS side.
    deferred: true,
  })
  const driver = new SmmuV3Driver(model, wanted.memory, driverOptions(options, streamBits))
  return hardware(model, driver, wanted.watch, seen, startGuest)
}

export const smmuv3: Architecture = {
  kind: 'smmuv3',
  title: 'Arm SMMUv3',
  doc: 'Arm SMMUv3 (IHI 0070).',
  keys,
  faultNames: [...event.EVENTS.values()].map(({ name }) => name),
  // 0: ended without an event, because the STE says abort, or the process has exited.
  faultKinds({ code }) {
    const kind = code === 0 ? 'blocked' : KINDS.get(code)
    return kind === undefined ? [] : [kind]
  },
  lacks: () => null,
  traits: [],
  cpu,
  build,
}
