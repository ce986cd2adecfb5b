/** The structures of Intel IOMMUs for tools: names, families, and what can be wrong with their values. */
import { getNumber, type Layout, type Words } from '../../base/layout.ts'
import type { Structure, StructureSet, Surroundings, Verdict } from '../structure.ts'
import {
  checkContext,
  checkIrte,
  checkPasid,
  checkPasidDir,
  checkRoot,
  checkSmContext,
  checkSmRoot,
  ENTRY_RULES,
  RULE_RESERVED,
} from './check.ts'
import { CONTEXT_ENTRY, CONTEXT_P, SM_CONTEXT_ENTRY } from './contexts.ts'
import { DESCRIPTOR_STRUCTURES } from './descriptor-structures.ts'
import * as FR from './faults.ts'
import { featuresOf, type VtdFeatures } from './features.ts'
import {
  COMPATIBILITY_ADDRESS,
  INTERRUPT_DATA,
  IRTE_IM,
  IRTE_P,
  IRTE_POSTED,
  IRTE_REMAPPED,
  PI_DESCRIPTOR,
  REMAPPABLE_ADDRESS,
} from './irte.ts'
import { PASID_DIR_ENTRY, PASID_ENTRY, PASID_P, PASID_PWSNP, PGTT_FIRST_STAGE, PGTT_NESTED, pgttOf } from './pasid.ts'
import { FAULT_RECORD, PAGE_REQUEST, PAGE_REQUEST_TYPE } from './records.ts'
import { FULL_CAP, FULL_ECAP, IOTLB, IRTA, IVA, REGISTERS } from './registers.ts'
import { ROOT_ENTRY, ROOT_P, SM_ROOT_ENTRY } from './root.ts'

/** Registers that are not known are those of an IOMMU that has everything. */
function featuresAround(around: Surroundings): VtdFeatures {
  return featuresOf(around.register('CAP') ?? FULL_CAP, around.register('ECAP') ?? FULL_ECAP)
}

const note = (text: string, section: string | null): Verdict => ({ kind: 'note', text, section })

/** What a rule means: reserved bits are reported apart from the others. */
function verdict(rule: number, section: string, reserved: number, invalid = reserved): Verdict[] {
  if (rule === 0) return []
  const reason = FR.faultReason(rule === RULE_RESERVED ? reserved : invalid)!
  return [{ kind: 'illegal', text: `${ENTRY_RULES[rule]}: fault reason 0x${reason.code.toString(16)} (${reason.name})`, section }]
}

const absent = (what: string, fault: number, section: string) => [
  note(`not present: ${what} is fault reason 0x${fault.toString(16)}`, section),
]

interface Entry {
  readonly name: string
  readonly what: string
  readonly section: string
  readonly layout: Layout
  check(words: Words, at: number, features: VtdFeatures, around: Surroundings): readonly Verdict[]
}

const entries: readonly Entry[] = [
  {
    name: 'ROOT_ENTRY',
    what: 'root entry of legacy mode: one bus',
    section: '9.1',
    layout: ROOT_ENTRY,
    check: (words, at, features) =>
      (words[at]! & ROOT_P) === 0
        ? absent('every request of this bus', FR.FR_ROOT_NOT_PRESENT, '9.1')
        : verdict(checkRoot(words, at, features), '9.1', FR.FR_ROOT_RESERVED),
  },
  {
    name: 'SM_ROOT_ENTRY',
    what: 'root entry of scalable mode: one bus, in two halves',
    section: '9.2',
    layout: SM_ROOT_ENTRY,
    check: (words, at, features) =>
      [0, 2].flatMap((half) => {
        const which = half === 0 ? 'devices 0 to 15' : 'devices 16 to 31'
        if ((words[at + half]! & ROOT_P) === 0) return absent(`every request of ${which}`, FR.FR_SM_ROOT_NOT_PRESENT, '9.2')
        return verdict(checkSmRoot(words, at + half, features), '9.2', FR.FR_SM_ROOT_RESERVED)
      }),
  },
  {
    name: 'CONTEXT_ENTRY',
    what: 'context entry of legacy mode: one function',
    section: '9.3',
    layout: CONTEXT_ENTRY,
    check(words, at, features) {
      if ((words[at]! & CONTEXT_P) === 0) return absent('every request', FR.FR_CONTEXT_NOT_PRESENT, '9.3')
      const broken = verdict(checkContext(words, at, features), '9.3', FR.FR_CONTEXT_RESERVED, FR.FR_CONTEXT_INVALID)
      if (features.cachingMode && getNumber(words, CONTEXT_ENTRY.fields.DID, at) === 0)
        broken.push(note('DID is 0, which tags entries that are not present where CAP.CM is 1', '6.1'))
      return broken
    },
  },
  {
    name: 'SM_CONTEXT_ENTRY',
    what: 'context entry of scalable mode: one function',
    section: '9.4',
    layout: SM_CONTEXT_ENTRY,
    check: (words, at, features) =>
      (words[at]! & CONTEXT_P) === 0
        ? absent('every request', FR.FR_SM_CONTEXT_NOT_PRESENT, '9.4')
        : verdict(checkSmContext(words, at, features), '9.4', FR.FR_SM_CONTEXT_RESERVED, FR.FR_SM_CONTEXT_INVALID),
  },
  {
    name: 'PASID_DIR_ENTRY',
    what: 'entry of a PASID directory: 64 PASIDs',
    section: '9.5',
    layout: PASID_DIR_ENTRY,
    check: (words, at, features) =>
      (words[at]! & PASID_P) === 0
        ? absent('every request with one of its PASIDs', FR.FR_PASID_DIR_NOT_PRESENT, '9.5')
        : verdict(checkPasidDir(words, at, features), '9.5', FR.FR_PASID_DIR_RESERVED),
  },
  {
    name: 'PASID_ENTRY',
    what: 'entry of a PASID table: one address space',
    section: '9.6',
    layout: PASID_ENTRY,
    check(words, at, features) {
      if ((words[at]! & PASID_P) === 0) return absent('every request with its PASID', FR.FR_PASID_NOT_PRESENT, '9.6')
      const broken = verdict(checkPasid(words, at, features), '9.6', FR.FR_PASID_RESERVED, FR.FR_PASID_INVALID)
      const pgtt = pgttOf(words[at]!)
      if ((pgtt === PGTT_FIRST_STAGE || pgtt === PGTT_NESTED) && (words[at + 2]! & PASID_PWSNP) === 0)
        broken.push(note('PWSNP is 0: A and D must be set beforehand in the first stage (else SFS.9)', '3.6'))
      return broken
    },
  },
]

const interruptForms: readonly Structure[] = [
  {
    name: 'IRTE_REMAPPED',
    what: 'interrupt remapping table entry of a remapped interrupt (IM = 0)',
    section: '9.10',
    layout: IRTE_REMAPPED,
  },
  {
    name: 'IRTE_POSTED',
    what: 'interrupt remapping table entry of a posted interrupt (IM = 1)',
    section: '9.11',
    layout: IRTE_POSTED,
  },
].map((form) => ({
  ...form,
  kind: 'table entry' as const,
  check(words: Words, at: number, around: Surroundings) {
    if (((words[at]! & IRTE_IM) !== 0) !== (form.layout === (IRTE_POSTED as Layout)))
      return [{ kind: 'illegal' as const, text: 'IM says that it has the other form', section: form.section }]
    if ((words[at]! & IRTE_P) === 0) return absent('every interrupt with its index', FR.FR_IRTE_NOT_PRESENT, form.section)
    const extended = ((around.register('IRTA') ?? 1n << 11n) & (1n << 11n)) !== 0n
    return verdict(checkIrte(words, at, featuresAround(around), extended), form.section, FR.FR_IRTE_RESERVED)
  },
}))

const tables: readonly Structure[] = [
  ...entries.map(
    (entry): Structure => ({
      ...entry,
      kind: 'table entry',
      check: (words, at, around) => entry.check(words, at, featuresAround(around), around),
    }),
  ),
  {
    name: 'IRTE',
    kind: 'table entry',
    what: 'any interrupt remapping table entry, told by IM',
    section: '9.10',
    layout: IRTE_REMAPPED,
    pick: (words, at) => interruptForms[(words[at]! & IRTE_IM) === 0 ? 0 : 1]!,
  },
  ...interruptForms,
  {
    name: 'PI_DESCRIPTOR',
    kind: 'table entry',
    what: 'posted-interrupt descriptor of a virtual CPU',
    section: '9.12',
    layout: PI_DESCRIPTOR,
  },
]

const records: readonly Structure[] = [
  {
    name: 'FAULT_RECORD',
    kind: 'event',
    what: 'fault recording register, or record of the fault log',
    section: '9.9',
    layout: FAULT_RECORD,
    check(words, at) {
      const code = getNumber(words, FAULT_RECORD.fields.FR, at)
      return FR.faultReason(code) === null
        ? [{ kind: 'illegal', text: `fault reason 0x${code.toString(16)} is not defined`, section: '7.1.3' }]
        : []
    },
  },
  {
    name: 'page_req_dsc',
    kind: 'page request',
    what: 'descriptor of the page request queue: a PCIe page request',
    section: '7.5.1',
    layout: PAGE_REQUEST,
    check(words, at) {
      const p = (name: keyof typeof PAGE_REQUEST.fields) => getNumber(words, PAGE_REQUEST.fields[name], at)
      if (p('TYPE') !== PAGE_REQUEST_TYPE)
        return [{ kind: 'illegal', text: `TYPE ${p('TYPE')} is reserved: a page request has 1`, section: '7.5.1' }]
      const marker = p('LPIG') === 1 && p('RD') === 0 && p('WR') === 0 && p('PP') === 1
      return marker ? [note('a Stop Marker: the device stops using this PASID; it gets no response', '7.5.1')] : []
    },
  },
  ...[
    {
      name: 'INTERRUPT_ADDRESS',
      what: 'address of an interrupt message, remappable format',
      section: '5.1.2.2',
      layout: REMAPPABLE_ADDRESS,
    },
    {
      name: 'INTERRUPT_ADDRESS_COMPAT',
      what: 'address of an interrupt message, compatibility format',
      section: '5.1.2.1',
      layout: COMPATIBILITY_ADDRESS,
    },
    {
      name: 'INTERRUPT_DATA',
      what: 'data of an interrupt message, compatibility format',
      section: '5.1.2.1',
      layout: INTERRUPT_DATA,
    },
  ].map((form) => ({ ...form, kind: 'event' as const })),
]

const place = (offset: number) => `register at 0x${offset.toString(16)}`

const registers: readonly Structure[] = [
  ...REGISTERS.map(({ name, offset, layout }) => ({ name, what: place(offset), layout })),
  { name: 'IVA', what: 'register at 16 × ECAP.IRO', layout: IVA },
  { name: 'IOTLB', what: 'register at 16 × ECAP.IRO + 8', layout: IOTLB },
].map((register) => ({ ...register, kind: 'register' as const, section: '11.4' }))

export const VTD_STRUCTURES: StructureSet = {
  key: 'vtd',
  name: 'Intel VT-d',
  manual: 'Intel VT-d 4.1',
  registerPrefix: '',
  surroundings: {
    registers: ['CAP', 'ECAP', IRTA.name],
    registersUnless: 'one that has everything',
    structures: [],
  },
  structures: [...tables, ...DESCRIPTOR_STRUCTURES, ...records, ...registers],
}
