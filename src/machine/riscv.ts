/** A machine with a RISC-V IOMMU: which options a scenario has, and our words for its faults. */
import { describe, encode, getNumber, wordsToU64 } from '../base/layout.ts'
import { IommError } from '../core/error.ts'
import { kindOf } from '../driver/riscv/command-queue.ts'
import { RiscvDriver, type RiscvDriverOptions } from '../driver/riscv/driver.ts'
import { AD_FAULT, AD_SET } from '../format/pt/format.ts'
import { type RiscvMode, riscvScheme } from '../format/pt/riscv.ts'
import { ATS, ATS_INVAL_PAYLOAD, ATS_PRGR_PAYLOAD } from '../format/riscv/commands.ts'
import * as record from '../format/riscv/records.ts'
import { CAUSES, isGuestPageFault } from '../format/riscv/records.ts'
import { CAPABILITIES, FULL_CAPABILITIES } from '../format/riscv/registers.ts'
import { commandLayout, commandName } from '../format/riscv/structures.ts'
import type { CpuDescription } from '../mm/system.ts'
import { RiscvIommu } from '../model/riscv/iommu.ts'
import { DEFAULT_OPTIONS } from '../model/riscv/options.ts'
import type { Architecture, CpuChoice, Hardware, SeenCommand, Wanted } from './architecture.ts'
import { commandText, type FieldWords } from './command-text.ts'
import { hardware } from './hardware.ts'
import { lacksStalls } from './impossible.ts'
import { object, optional, type Read } from './language/object.ts'
import { flag, integer, oneOf } from './language/shape.ts'
import type { FaultKind } from './language/words.ts'
import { startGuest } from './riscv-guest.ts'

const cacheKeys = {
  iotlb: optional(integer(0, 1 << 20), 'Translations that the IOATC holds, rounded up to a power of two; 0: off.'),
  config: optional(integer(0, 1 << 16), 'Device contexts, and process contexts, that are kept, rounded up likewise; 0: off.'),
}

const keys = {
  stage: optional(oneOf(['1', '2']), 'Stage that translates dma domains; by default 1. Processes are shared at stage 1 only.'),
  pasidBits: optional(
    integer(0, 20),
    'Width of process_ids: process directories of PD8, PD17 and PD20 as far as they fit; by default 20.',
  ),
  ats: optional(flag, 'Whether it answers translation requests and takes page requests (capabilities.ATS); by default true.'),
  stall: optional(
    oneOf(['yes', 'no', 'forced']),
    'A RISC-V IOMMU cannot hold a transaction, so only no is possible: faults of devices wait as page requests (PRI).',
  ),
  hardwareUpdates: optional(
    oneOf(['none', 'dirty']),
    'Whether it can set A and D in page tables (capabilities.AMO_HWAD); by default dirty. It does so where the CPUs do.',
  ),
  directory: optional(oneOf(['1LVL', '2LVL', '3LVL']), 'Levels of the device directory; by default as few as the devices need.'),
  contexts: optional(oneOf(['base', 'extended']), 'Form of device contexts (capabilities.MSI_FLAT); by default extended.'),
  pasidTable: optional(
    oneOf(['PD8', 'PD17', 'PD20']),
    'Form of process directories; by default the smallest that the devices of a domain need.',
  ),
  mode: optional(oneOf(['Sv39', 'Sv48', 'Sv57']), 'Mode of io_pgtables, at stage 2 with x4; by default Sv48.'),
  commandQueue: optional(integer(1, 19), 'log2 of the entries of the command queue; by default 8.'),
  eventQueue: optional(integer(1, 19), 'log2 of the entries of the fault queue; by default 7.'),
  pageRequestQueue: optional(integer(1, 19), 'log2 of the entries of the page-request queue; by default 8.'),
  caches: optional(object('caches', cacheKeys), 'Sizes of its caches.'),
}
type Options = Partial<Read<typeof keys>>

/** "sv39" … of a width of addresses. */
function cpuModeOf(bits: number): RiscvMode {
  return bits > 48 ? 'Sv57' : bits > 39 ? 'Sv48' : 'Sv39'
}

function cpu(choice: CpuChoice): CpuDescription {
  const pageSize = choice.pageSize ?? '4K'
  if (pageSize !== '4K') throw new IommError('Unsupported', `RISC-V CPUs have pages of 4K, not of ${pageSize}`)
  const { format, topDepth, inputBits, top } = riscvScheme(cpuModeOf(choice.addressBits ?? 48), {
    svpbmt: true,
    svrsw60t59b: true,
  })
  // Svadu sets A and D, both or neither.
  const updates = (choice.hardwareUpdates ?? 'none') === 'none' ? AD_FAULT : AD_SET
  return {
    format,
    topDepth,
    inputBits,
    top,
    outputLimit: 2 ** 56,
    asidBits: choice.asidBits ?? 16,
    cpus: choice.cpus ?? 4,
    kpti: choice.kpti ?? false,
    accessed: updates,
    dirty: updates,
  }
}

/** The `capabilities` register of the scenario's choices. */
function capabilitiesOf(options: Options): bigint {
  const words = Uint32Array.of(Number(FULL_CAPABILITIES & 0xffffffffn), Number(FULL_CAPABILITIES >> 32n))
  const bits = options.pasidBits ?? 20
  const off: (keyof typeof CAPABILITIES.fields)[] = []
  if (bits < 8) off.push('PD8')
  if (bits < 17) off.push('PD17')
  if (bits < 20) off.push('PD20')
  if (options.ats === false) off.push('ATS', 'T2GPA')
  if (options.hardwareUpdates === 'none') off.push('AMO_HWAD')
  if (options.contexts === 'base') off.push('MSI_FLAT', 'MSI_MRIF')
  const mask = encode(CAPABILITIES, Object.fromEntries(off.map((name) => [name, 1])))
  words.forEach((word, index) => {
    words[index] = word & ~mask[index]!
  })
  return wordsToU64(words)[0]!
}

function driverOptions(options: Options, wanted: Wanted): RiscvDriverOptions {
  return {
    deviceIdBits: Math.max(1, Math.ceil(Math.log2(wanted.largestDevice + 1))),
    hardwareUpdates: wanted.cpu.accessed === AD_SET,
    ...(options.stage === undefined ? {} : { domainStage: options.stage === '1' ? 1 : 2 }),
    ...(options.directory === undefined ? {} : { directoryLevels: Number(options.directory[0]) as 1 | 2 | 3 }),
    ...(options.pasidTable === undefined ? {} : { processDirectory: options.pasidTable }),
    ...(options.mode === undefined ? {} : { mode: options.mode }),
    ...(options.commandQueue === undefined ? {} : { commandQueueLog2: options.commandQueue }),
    ...(options.eventQueue === undefined ? {} : { faultQueueLog2: options.eventQueue }),
    ...(options.pageRequestQueue === undefined ? {} : { pageRequestQueueLog2: options.pageRequestQueue }),
  }
}

/** A page fault says that a page table refused, not why: it may be any of these. */
const REFUSED: readonly FaultKind[] = ['not-mapped', 'no-permission', 'no-access-flag', 'out-of-range']

const KINDS: ReadonlyMap<number, FaultKind> = new Map([
  [record.CAUSE_ALL_DISALLOWED, 'blocked'],
  [record.CAUSE_DDT_LOAD, 'bad-table'],
  [record.CAUSE_DDT_INVALID, 'no-device'],
  [record.CAUSE_DDT_MISCONFIGURED, 'no-device'],
  [record.CAUSE_DDT_CORRUPT, 'bad-table'],
  [record.CAUSE_PDT_LOAD, 'bad-table'],
  [record.CAUSE_PDT_MISCONFIGURED, 'no-pasid'],
  [record.CAUSE_PDT_CORRUPT, 'bad-table'],
  [record.CAUSE_PT_CORRUPT, 'bad-table'],
])

function faultKinds({ code, pasid }: { readonly code: number; readonly pasid: number | null }): readonly FaultKind[] {
  // What a device is, or its PASID, is not allowed; without PASID it is entry 0 that nothing may use.
  if (code === record.CAUSE_TYPE_DISALLOWED || code === record.CAUSE_PDT_INVALID) return [pasid === null ? 'blocked' : 'no-pasid']
  if (code === 12 || code === 13 || code === 15 || isGuestPageFault(code)) return REFUSED
  if (code === 1 || code === 5 || code === 7) return ['bad-table']
  const kind = KINDS.get(code)
  return kind === undefined ? [] : [kind]
}

const WORDS: FieldWords = {
  short: {
    PID: 'pid',
    DID: 'did',
    RID: 'rid',
    PSCID: 'pscid',
    GSCID: 'gscid',
    ADDR: 'at',
    PRGI: 'group',
    UntranslatedAddress: 'at',
  },
  silent: new Set(['opcode', 'func3', 'AV', 'PV', 'DV', 'GV', 'PSCV', 'DSV', 'PAYLOAD', 'PR', 'PW', 'S', 'DestinationID']),
  told: new Set(['DID', 'RID', 'PRGI', 'ResponseCode']),
  hex: new Set(['DID', 'RID', 'ADDR', 'UntranslatedAddress']),
  order: ['DID', 'RID', 'PID'],
}

/** A command in words. */
function seen(words: Uint32Array): SeenCommand {
  const kind = kindOf(words)
  const layout = commandLayout(words)
  const fields = layout === null ? [] : describe(layout, words)
  // A field counts where its valid bit says so.
  const valid = (bit: string) => fields.some(({ name, value }) => name === bit && value === 1)
  const told = fields.filter(({ name }) => name !== 'DID' || valid('DV'))
  if (layout === ATS) {
    const form = getNumber(words, ATS.fields.func3) === 0 ? ATS_INVAL_PAYLOAD : ATS_PRGR_PAYLOAD
    told.push(...describe(form, words, 2))
  }
  return { name: commandName(words), text: commandText(told, WORDS), cache: kind === 'sync' ? null : kind }
}

const powerOfTwo = (size: number) => (size === 0 ? 0 : 2 ** Math.ceil(Math.log2(size)))

function build(wanted: Wanted): Hardware {
  const options = wanted.options as Options
  if ((options.stall ?? 'no') !== 'no')
    throw new IommError('Unsupported', 'a RISC-V IOMMU cannot hold a faulting transaction (stall): devices need ATS and PRI')
  const { iotlb, config } = options.caches ?? {}
  const model = new RiscvIommu(wanted.memory, {
    capabilities: capabilitiesOf(options),
    caches: {
      ...DEFAULT_OPTIONS.caches,
      ...(iotlb === undefined ? {} : { translations: powerOfTwo(iotlb) }),
      ...(config === undefined ? {} : { devices: powerOfTwo(config), processes: powerOfTwo(config) }),
    },
  })
  const driver = new RiscvDriver(model, wanted.memory, driverOptions(options, wanted))
  return hardware(model, driver, wanted.watch, seen, startGuest)
}

export const riscv: Architecture = {
  kind: 'riscv',
  title: 'RISC-V IOMMU',
  doc: 'RISC-V IOMMU (specification 1.0).',
  keys,
  faultNames: Object.values(CAUSES),
  faultKinds,
  lacks: lacksStalls('a RISC-V IOMMU'),
  traits: ['valid-only'],
  cpu,
  build,
}
