/** The structures of RISC-V IOMMUs for tools: names, families, and what can be wrong with their values. */
import { getNumber, type Layout, layout, oneOf, uint, type Words } from '../../base/layout.ts'
import { hi32, lo32 } from '../../base/u64.ts'
import type { Structure, StructureSet, Surroundings, Verdict } from '../structure.ts'
import { CONTEXT_RULES, checkDc, checkPc } from './check.ts'
import { ATS, COMMANDS, IODIR, IOFENCE, IOTINVAL } from './commands.ts'
import { DC, DC_BASE, DC_TC, DC_WORDS, DDTE, PC, PDTE } from './contexts.ts'
import { featuresOf, type RiscvFeatures } from './features.ts'
import { MSI_PTE_FLAT, MSI_PTE_MRIF, MSIPTE_FLAT, MSIPTE_MRIF } from './msi.ts'
import { CAUSES, FAULT_RECORD, PAGE_REQUEST } from './records.ts'
import { FULL_CAPABILITIES, REGISTERS } from './registers.ts'

/** Registers that are not known are those of an IOMMU that has everything, little-endian. */
function featuresAround(around: Surroundings, extended: boolean): RiscvFeatures {
  const capabilities = around.register('capabilities') ?? FULL_CAPABILITIES
  const features = featuresOf(hi32(capabilities), lo32(capabilities), Number(around.register('fctl') ?? 0n))
  return { ...features, extended }
}

const CHECKS = 'Device-context configuration checks'
const PROCESS_CHECKS = 'Process-context configuration checks'

function verdict(rule: number, section: string): Verdict[] {
  return rule === 0 ? [] : [{ kind: 'illegal', text: CONTEXT_RULES[rule]!, section }]
}

const note = (text: string, section: string): Verdict => ({ kind: 'note', text, section })

function deviceContext(name: string, form: Layout, what: string): Structure {
  const extended = form === DC
  return {
    name,
    kind: 'table entry',
    what,
    section: 'Device-context fields',
    layout: form,
    refusal: 'cause 259',
    check(words, at, around) {
      const dc = new Int32Array(DC_WORDS)
      dc.set(words.subarray(at, at + form.bits / 32))
      if ((dc[DC_TC]! & 1) === 0)
        return [note('not valid: every transaction is cause 258', 'Process to locate the Device-context')]
      return verdict(checkDc(dc, 0, featuresAround(around, extended)), CHECKS)
    },
  }
}

const tables: Structure[] = [
  deviceContext('DC', DC, 'device context, extended format (capabilities.MSI_FLAT is 1)'),
  deviceContext('DC_BASE', DC_BASE, 'device context, base format'),
  {
    name: 'PC',
    kind: 'table entry',
    what: 'process context: the first stage of one address space',
    section: 'Process-context fields',
    layout: PC,
    refusal: 'cause 267',
    check(words, at, around) {
      const pc = Int32Array.from(words.subarray(at, at + PC.bits / 32))
      if ((pc[0]! & 1) === 0)
        return [note('not valid: a transaction with this process_id is cause 266', 'Process to locate the Process-context')]
      const dc = around.structure('DC')
      return verdict(checkPc(pc, 0, dc === null ? 0 : dc[DC_TC]! | 0, featuresAround(around, true)), PROCESS_CHECKS)
    },
  },
  {
    name: 'DDTE',
    kind: 'table entry',
    what: 'non-leaf entry of the device directory',
    section: 'Non-leaf DDT entry',
    layout: DDTE,
    refusal: 'cause 259',
  },
  {
    name: 'PDTE',
    kind: 'table entry',
    what: 'non-leaf entry of a process directory',
    section: 'Non-leaf PDT entry',
    layout: PDTE,
    refusal: 'cause 267',
  },
]

const msiForms: Structure[] = [
  {
    name: 'MSI_PTE_FLAT',
    kind: 'table entry',
    what: 'MSI page table entry in basic translate mode (M = 3)',
    section: 'MSI page tables',
    layout: MSI_PTE_FLAT,
    refusal: 'cause 263',
  },
  {
    name: 'MSI_PTE_MRIF',
    kind: 'table entry',
    what: 'MSI page table entry in MRIF mode (M = 1)',
    section: 'MSI page tables',
    layout: MSI_PTE_MRIF,
    refusal: 'cause 263',
  },
]

/** Layouts by opcode, with the names of their functions. */
const FUNCTIONS = [IOTINVAL, IOFENCE, IODIR, ATS].flatMap((form) =>
  Object.entries(form.fields.func3.names).map(([func3, function_]) => ({
    name: `${form.name}.${function_}`,
    form: form as Layout,
    func3: Number(func3),
    opcode: Number(Object.keys(COMMANDS).find((opcode) => COMMANDS[Number(opcode)]!.name === form.name)),
  })),
)

const opcodeOf = (words: Words, at: number) => words[at]! & 0x7f
const func3Of = (words: Words, at: number) => (words[at]! >>> 7) & 7

function functionOf(words: Words, at: number) {
  return FUNCTIONS.find(({ opcode, func3 }) => opcode === opcodeOf(words, at) && func3 === func3Of(words, at)) ?? null
}

/** What a command is called: `IOTINVAL.VMA`; `opcode 0x7f` when it is none. */
export function commandName(words: Words, at = 0): string {
  return functionOf(words, at)?.name ?? `opcode 0x${opcodeOf(words, at).toString(16)}`
}

/** The layout of a command; null when it is none. */
export function commandLayout(words: Words, at = 0): Layout | null {
  return functionOf(words, at)?.form ?? null
}

const commands: Structure[] = FUNCTIONS.map(({ name, form, opcode, func3 }) => ({
  name,
  kind: 'command',
  what: 'command',
  section: 'Command-Queue (CQ)',
  layout: form,
  refusal: 'cmd_ill',
  check(words, at) {
    if (opcodeOf(words, at) !== opcode || func3Of(words, at) !== func3)
      return [{ kind: 'illegal', text: `opcode and func3 say ${commandName(words, at)}`, section: null }]
    if (name === 'IOTINVAL.GVMA' && getNumber(words, IOTINVAL.fields.PSCV, at) === 1)
      return [{ kind: 'illegal', text: 'PSCV is 1: second-stage entries have no PSCID', section: 'IOTINVAL.GVMA' }]
    return []
  },
}))

const families: Structure[] = [
  {
    name: 'COMMAND',
    kind: 'command',
    what: 'any command, told by its opcode and func3',
    section: 'Command-Queue (CQ)',
    layout: layout('COMMAND', 128, {
      opcode: oneOf(6, 0, IOTINVAL.fields.opcode.names, 'command group'),
      func3: uint(9, 7, 'function'),
    }),
    pick: (words, at) => commands.find(({ name }) => name === commandName(words, at)) ?? null,
  },
  {
    name: 'MSI_PTE',
    kind: 'table entry',
    what: 'any MSI page table entry, told by its mode',
    section: 'MSI page tables',
    layout: layout('MSI PTE', 128, { M: MSI_PTE_FLAT.fields.M, V: MSI_PTE_FLAT.fields.V }),
    pick(words, at) {
      const mode = getNumber(words, MSI_PTE_FLAT.fields.M, at)
      return mode === MSIPTE_FLAT ? msiForms[0]! : mode === MSIPTE_MRIF ? msiForms[1]! : null
    },
  },
]

const records: Structure[] = [
  {
    name: 'FAULT',
    kind: 'event',
    what: 'record of the fault queue',
    section: 'Fault/Event-Queue (FQ)',
    layout: FAULT_RECORD,
    check(words, at) {
      const cause = getNumber(words, FAULT_RECORD.fields.CAUSE, at)
      return CAUSES[cause] === undefined
        ? [{ kind: 'illegal', text: `cause ${cause} is not defined`, section: 'Fault/Event-Queue (FQ)' }]
        : []
    },
  },
  {
    name: 'PAGE_REQUEST',
    kind: 'page request',
    what: 'record of the page-request queue: a PCIe page request',
    section: 'Page-Request-Queue (PQ)',
    layout: PAGE_REQUEST,
    check(words, at) {
      const p = (name: keyof typeof PAGE_REQUEST.fields) => getNumber(words, PAGE_REQUEST.fields[name], at)
      const marker = p('L') === 1 && p('R') === 0 && p('W') === 0 && p('PV') === 1
      return marker
        ? [note('a Stop Marker: the device stops using this PASID; it gets no response', 'Page-Request-Queue (PQ)')]
        : []
    },
  },
]

const registers: Structure[] = REGISTERS.map(({ name, offset, layout: form }) => ({
  name,
  kind: 'register',
  what: `register at 0x${offset.toString(16)}`,
  section: 'Memory-mapped register interface',
  layout: form,
}))

export const RISCV_STRUCTURES: StructureSet = {
  key: 'riscv',
  name: 'RISC-V IOMMU',
  manual: 'RISC-V IOMMU 1.0',
  registerPrefix: '',
  surroundings: {
    registers: ['capabilities', 'fctl'],
    registersUnless: 'one that has everything, little-endian',
    structures: [{ name: 'DC', what: 'for PC: the DC through which it is reached' }],
  },
  structures: [...tables, ...families, ...msiForms, ...commands, ...records, ...registers],
}
