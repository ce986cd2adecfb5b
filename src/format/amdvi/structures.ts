/** The structures of AMD-Vi for tools: names, families, and what can be wrong with their values. */
import { getNumber, type Layout, layout, type Words } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import type { Structure, StructureSet, Surroundings, Verdict } from '../structure.ts'
import { checkDte, checkDteInterrupts, DTE_RULES } from './check.ts'
import { illegalCommand } from './command-rules.ts'
import { COMMANDS, OpCode, opcodeOf } from './commands.ts'
import { DTE, DTE_WORDS } from './dte.ts'
import { EVENT_INVALID_DEVICE_REQUEST, EVENTS, EventCode, eventCodeOf, eventName, REQUEST_TYPES } from './events.ts'
import { type AmdFeatures, featuresOf } from './features.ts'
import { GCR3_ENTRY, GCR3_POINTER, GCR3_V } from './gcr3.ts'
import { INT_TYPES, IRTE0_GUEST_MODE, IRTE0_REMAP_EN, IRTE32, IRTE128, IRTE128_GUEST } from './irte.ts'
import { PPR_ENTRY, PPR_PAGE_SERVICE_REQUEST, PPR1_READ, PPR1_WRITE } from './ppr.ts'
import { CONTROL_GT_EN, CONTROL_IOMMU_EN, FULL_EXT_FEATURE, REGISTERS } from './registers.ts'
import { remarksDte } from './remarks.ts'

const FULL_CONTROL = BigInt(CONTROL_IOMMU_EN | CONTROL_GT_EN)

/** Registers that are not known are those of an IOMMU that has everything, with guest translation. */
function featuresAround(around: Surroundings): AmdFeatures {
  const efr = around.register('EXT_FEATURE') ?? FULL_EXT_FEATURE
  const control = around.register('CONTROL') ?? FULL_CONTROL
  return featuresOf(hi32(efr), lo32(efr), hi32(control), lo32(control))
}

const note = (text: string, section: string): Verdict => ({ kind: 'note', text, section })
const illegal = (text: string, section: string | null): Verdict => ({ kind: 'illegal', text, section })

const tables: Structure[] = [
  {
    name: 'DTE',
    kind: 'table entry',
    what: 'device table entry',
    section: '2.2.2.1',
    layout: DTE,
    refusal: 'ILLEGAL_DEV_TABLE_ENTRY',
    check(words, at, around) {
      const dte = Int32Array.from(words.subarray(at, at + DTE_WORDS))
      const features = featuresAround(around)
      const rules = [checkDte(dte, 0, features), checkDteInterrupts(dte, 0)].filter((rule) => rule !== 0)
      if (rules.length > 0) return rules.map((rule) => illegal(DTE_RULES[rule]!.text, DTE_RULES[rule]!.section))
      return remarksDte(dte, 0, features).map((text) => note(text, '2.2.2.1'))
    },
  },
  {
    name: 'GCR3',
    kind: 'table entry',
    what: 'GCR3 table entry of the lowest level: the guest page table of one PASID',
    section: '2.2.6.3',
    layout: GCR3_ENTRY,
    refusal: 'IO_PAGE_FAULT',
    check: notValid,
  },
  {
    name: 'GCR3_POINTER',
    kind: 'table entry',
    what: 'GCR3 table entry of a higher level',
    section: '2.2.6.3',
    layout: GCR3_POINTER,
    refusal: 'IO_PAGE_FAULT',
    check: notValid,
  },
]

function notValid(words: Words, at: number): Verdict[] {
  return (words[at]! & GCR3_V) === 0
    ? [note('not valid: a request with this PASID is an IO_PAGE_FAULT, with PR = 0', '2.2.6.3')]
    : []
}

function irte(name: string, form: Layout, what: string): Structure {
  return {
    name,
    kind: 'table entry',
    what,
    section: '2.2.5',
    layout: form,
    refusal: 'IO_PAGE_FAULT',
    check(words, at) {
      const first = words[at]!
      if ((first & IRTE0_REMAP_EN) === 0) return [note('RemapEn is 0: the interrupt is aborted', '2.2.5')]
      const guest = (first & IRTE0_GUEST_MODE) !== 0
      if (guest !== (form === IRTE128_GUEST))
        return [
          guest
            ? illegal(
                form === IRTE32 ? 'GuestMode is 1: 4-byte entries have no guest mode' : 'GuestMode is 1: that is IRTE_GUEST',
                '2.2.5',
              )
            : illegal('GuestMode is 0: that is IRTE', '2.2.5'),
        ]
      const type = (first >>> 2) & 7
      if (!guest && INT_TYPES[type as 0] === undefined) return [illegal(`IntType ${type} is reserved`, '2.2.5')]
      return []
    },
  }
}

const interrupts: Structure[] = [
  irte('IRTE32', IRTE32, 'interrupt remapping entry of 4 bytes (CONTROL.GAEn is 0)'),
  irte('IRTE', IRTE128, 'interrupt remapping entry of 16 bytes (CONTROL.GAEn is 1)'),
  irte('IRTE_GUEST', IRTE128_GUEST, 'interrupt remapping entry of 16 bytes for a virtual APIC (GuestMode is 1)'),
]

/** Words that are called by the name of one command or event must be that one. */
function notThis(code: number, wanted: number, name: string): Verdict[] {
  return code === wanted ? [] : [illegal(`bits 63:60 are ${code}: that is ${name}`, null)]
}

const commands: Structure[] = [...COMMANDS.values()].map(({ opcode, name, what, section, layout: form }) => ({
  name,
  kind: 'command',
  what,
  section,
  layout: form,
  refusal: 'ILLEGAL_COMMAND_ERROR',
  check(words: Words, at: number, around: Surroundings): Verdict[] {
    const code = opcodeOf(words, at)
    const other = notThis(code, opcode, COMMANDS.get(code)?.name ?? 'reserved')
    if (other.length > 0) return other
    const why = illegalCommand(words, at, featuresAround(around))
    // Reserved bits are listed by themselves.
    return why === null || why === 'reserved bits are set' ? [] : [illegal(why, '2.5.6')]
  },
}))

const events: Structure[] = [...EVENTS.values()].map(({ code, name, what, section, layout: form }) => ({
  name,
  kind: 'event',
  what,
  section,
  layout: form,
  check(words: Words, at: number): Verdict[] {
    const other = notThis(eventCodeOf(words, at), code, eventName(eventCodeOf(words, at)))
    if (other.length > 0 || form !== EVENT_INVALID_DEVICE_REQUEST) return other
    const { TR, Type } = EVENT_INVALID_DEVICE_REQUEST.fields
    const type = getNumber(words, Type, at)
    return [note(`Type ${type}: ${REQUEST_TYPES[getNumber(words, TR, at) as 0 | 1][type] ?? 'reserved'}`, section)]
  },
}))

const pageRequests: Structure[] = [
  {
    name: 'PAGE_SERVICE_REQUEST',
    kind: 'page request',
    what: 'entry of the PPR log: a PCIe page request',
    section: '2.6',
    layout: PPR_ENTRY,
    check(words, at) {
      const code = words[at + 1]! >>> 28
      if (code !== PPR_PAGE_SERVICE_REQUEST) return [illegal(`PPRCode ${code} is reserved`, '2.6')]
      const marker = (words[at + 1]! & (PPR1_READ | PPR1_WRITE)) === 0
      return marker ? [note('neither read nor write: a Stop Marker, where PPRTag says that it is the last', '2.6')] : []
    },
  },
]

const byName = (list: readonly Structure[], name: string | undefined) => list.find((structure) => structure.name === name) ?? null

const families: Structure[] = [
  {
    name: 'COMMAND_ENTRY',
    kind: 'command',
    what: 'any command, told by its opcode',
    section: '2.4',
    layout: layout('command buffer entry', 128, { OpCode }),
    pick: (words, at) => byName(commands, COMMANDS.get(opcodeOf(words, at))?.name),
  },
  {
    name: 'EVENT_ENTRY',
    kind: 'event',
    what: 'any event log entry, told by its code',
    section: '2.5',
    layout: layout('event log entry', 128, { EventCode }),
    pick: (words, at) => byName(events, EVENTS.get(eventCodeOf(words, at))?.name),
  },
]

const registers: Structure[] = REGISTERS.map(({ name, offset, layout: form }) => ({
  name,
  kind: 'register',
  what: `register at 0x${offset.toString(16)}`,
  section: '3.4',
  layout: form,
}))

export const AMDVI_STRUCTURES: StructureSet = {
  key: 'amdvi',
  name: 'AMD-Vi',
  manual: 'AMD IOMMU specification (48882)',
  registerPrefix: 'AMDVI_',
  surroundings: {
    registers: ['EXT_FEATURE', 'CONTROL'],
    registersUnless: 'one that has everything, with guest translation',
    structures: [],
  },
  structures: [...tables, ...families, ...interrupts, ...commands, ...events, ...pageRequests, ...registers],
}
